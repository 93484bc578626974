// The heads of attention, out of the joint projection to queries, keys and values, and rotary position embedding on the way (rotate-half: Su et al. 2021, arXiv 2104.09864;
// the halves as in GPT-NeoX and Llama). Of a query's or key's head x of token t, for each j < half:
//   y[j]        = x[j]·cos - x[j + half]·sin
//   y[j + half] = x[j + half]·cos + x[j]·sin        cos = table[t, j], sin = table[t, half + j]
// Values, and all heads of the `_plain` kernels, move as they are. The gradient turns back: the same with -sin.
//   split         x -> q, k, v
//   split_cached  x -> q, and k and v into rows of a cache: those of token t into row `rows[t]`; a row that is none is not written
//   split_cached_half  the same into a cache of halves, rounded to nearest, ties to even
//   join          dq, dk, dv -> dx
// x [tokens, heads + 2·kv_heads, 2·half]; q [tokens, heads, 2·half]; k, v [tokens, kv_heads, 2·half]; table [tokens, 2·half]; cache [cache_rows, kv_heads, 2·half].
// Dispatch: one thread per pair, linear groups of 256; in `split_cached_half` per two neighbours of a head, which share a word. There DTYPE is `DType::code` of the cache.
// Needs common/half.wgsl.

struct Params {
    pairs: u32,
    heads: u32,
    kv_heads: u32,
    half: u32,
    cache_rows: u32,
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> table: array<f32>;
@group(0) @binding(2) var<storage, read_write> q: array<f32>;
@group(0) @binding(3) var<storage, read_write> k: array<f32>;
@group(0) @binding(4) var<storage, read_write> v: array<f32>;

// split_plain binds x, q, k, v
@group(0) @binding(1) var<storage, read_write> plain_q: array<f32>;
@group(0) @binding(2) var<storage, read_write> plain_k: array<f32>;
@group(0) @binding(3) var<storage, read_write> plain_v: array<f32>;

// split_cached binds x, table, rows, q, keys, values
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<storage, read_write> cached_q: array<f32>;
@group(0) @binding(4) var<storage, read_write> keys: array<f32>;
@group(0) @binding(5) var<storage, read_write> values: array<f32>;

// split_cached_half binds the same, with two elements to a word of the cache
override DTYPE: u32 = 1u;
@group(0) @binding(4) var<storage, read_write> key_words: array<u32>;
@group(0) @binding(5) var<storage, read_write> value_words: array<u32>;

// join binds dq, dk, dv, table, dx; join_plain dq, dk, dv, dx
@group(0) @binding(0) var<storage, read> dq: array<f32>;
@group(0) @binding(1) var<storage, read> dk: array<f32>;
@group(0) @binding(2) var<storage, read> dv: array<f32>;
@group(0) @binding(3) var<storage, read> join_table: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;
@group(0) @binding(3) var<storage, read_write> plain_dx: array<f32>;

// A pair of elements: of which token, in which of q, k and v, and where its first element lies there and in x.
struct Pair {
    token: u32,
    j: u32,
    part: u32,
    at: u32,
    at_x: u32,
}

const QUERY = 0u;
const KEY = 1u;
const VALUE = 2u;

fn pair_of(i: u32) -> Pair {
    let j = i % params.half;
    let row = i / params.half;
    let all = params.heads + 2u * params.kv_heads;
    let token = row / all;
    let head = row % all;
    let width = 2u * params.half;
    let at_x = row * width + j;
    if head < params.heads {
        return Pair(token, j, QUERY, (token * params.heads + head) * width + j, at_x);
    }
    let kv = head - params.heads;
    let is_value = kv >= params.kv_heads;
    let kv_head = select(kv, kv - params.kv_heads, is_value);
    return Pair(token, j, select(KEY, VALUE, is_value), (token * params.kv_heads + kv_head) * width + j, at_x);
}

fn turned(pair: vec2f, cosine: f32, sine: f32) -> vec2f {
    return vec2f(pair.x * cosine - pair.y * sine, pair.y * cosine + pair.x * sine);
}

fn value_of(pair: Pair) -> vec2f {
    return vec2f(x[pair.at_x], x[pair.at_x + params.half]);
}

fn turned_by_table(pair: Pair, value: vec2f) -> vec2f {
    let angle = pair.token * 2u * params.half + pair.j;
    return turned(value, table[angle], table[angle + params.half]);
}

@compute @workgroup_size(256)
fn split(at: Invocation) {
    let i = element(at);
    if i >= params.pairs {
        return;
    }
    let half = params.half;
    let pair = pair_of(i);
    let value = value_of(pair);
    let y = turned_by_table(pair, value);
    switch pair.part {
        case QUERY: {
            q[pair.at] = y.x;
            q[pair.at + half] = y.y;
        }
        case KEY: {
            k[pair.at] = y.x;
            k[pair.at + half] = y.y;
        }
        default: {
            v[pair.at] = value.x;
            v[pair.at + half] = value.y;
        }
    }
}

@compute @workgroup_size(256)
fn split_plain(at: Invocation) {
    let i = element(at);
    if i >= params.pairs {
        return;
    }
    let half = params.half;
    let pair = pair_of(i);
    let y = value_of(pair);
    switch pair.part {
        case QUERY: {
            plain_q[pair.at] = y.x;
            plain_q[pair.at + half] = y.y;
        }
        case KEY: {
            plain_k[pair.at] = y.x;
            plain_k[pair.at + half] = y.y;
        }
        default: {
            plain_v[pair.at] = y.x;
            plain_v[pair.at + half] = y.y;
        }
    }
}

@compute @workgroup_size(256)
fn split_cached(at: Invocation) {
    let i = element(at);
    if i >= params.pairs {
        return;
    }
    let half = params.half;
    let pair = pair_of(i);
    let value = value_of(pair);
    let y = turned_by_table(pair, value);
    if pair.part == QUERY {
        cached_q[pair.at] = y.x;
        cached_q[pair.at + half] = y.y;
        return;
    }
    let row = rows[pair.token];
    if row >= params.cache_rows {
        return;
    }
    let row_len = params.kv_heads * 2u * half;
    let place = row * row_len + pair.at - pair.token * row_len;
    if pair.part == KEY {
        keys[place] = y.x;
        keys[place + half] = y.y;
    } else {
        values[place] = value.x;
        values[place + half] = value.y;
    }
}

@compute @workgroup_size(256)
fn split_cached_half(at: Invocation) {
    let i = element(at);
    if i >= params.pairs {
        return;
    }
    // the first of the two has twice the number, in its head, that its thread's pair would have
    let head = pair_of(i);
    let first = 2u * head.j;
    let y = vec2f(turned_element(head, first), turned_element(head, first + 1u));
    let start = head.at - head.j + first;
    if head.part == QUERY {
        cached_q[start] = y.x;
        cached_q[start + 1u] = y.y;
        return;
    }
    let row = rows[head.token];
    if row >= params.cache_rows {
        return;
    }
    let row_len = params.kv_heads * 2u * params.half;
    let word = (row * row_len + start - head.token * row_len) / 2u;
    if head.part == KEY {
        key_words[word] = f32_to_half(y.x, DTYPE) | (f32_to_half(y.y, DTYPE) << 16u);
    } else {
        let at_x = head.at_x - head.j + first;
        value_words[word] = f32_to_half(x[at_x], DTYPE) | (f32_to_half(x[at_x + 1u], DTYPE) << 16u);
    }
}

// An element of the head in which a pair lies, turned with its partner.
fn turned_element(head: Pair, element: u32) -> f32 {
    let is_high = element >= params.half;
    let j = select(element, element - params.half, is_high);
    let pair = Pair(head.token, j, head.part, head.at - head.j + j, head.at_x - head.j + j);
    let y = turned_by_table(pair, value_of(pair));
    return select(y.x, y.y, is_high);
}

fn upstream(pair: Pair) -> vec2f {
    let half = params.half;
    switch pair.part {
        case QUERY: {
            return vec2f(dq[pair.at], dq[pair.at + half]);
        }
        case KEY: {
            return vec2f(dk[pair.at], dk[pair.at + half]);
        }
        default: {
            return vec2f(dv[pair.at], dv[pair.at + half]);
        }
    }
}

@compute @workgroup_size(256)
fn join(at: Invocation) {
    let i = element(at);
    if i >= params.pairs {
        return;
    }
    let half = params.half;
    let pair = pair_of(i);
    let angle = pair.token * 2u * half + pair.j;
    let dy = upstream(pair);
    let back = turned(dy, join_table[angle], -join_table[angle + half]);
    let value = select(back, dy, pair.part == VALUE);
    dx[pair.at_x] = value.x;
    dx[pair.at_x + half] = value.y;
}

@compute @workgroup_size(256)
fn join_plain(at: Invocation) {
    let i = element(at);
    if i >= params.pairs {
        return;
    }
    let pair = pair_of(i);
    let dy = upstream(pair);
    plain_dx[pair.at_x] = dy.x;
    plain_dx[pair.at_x + params.half] = dy.y;
}
