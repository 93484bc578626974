//! What a hardware GPU is asked to do, counted from sizes: how many workgroups share each product, and how many bytes each kernel moves.

pub mod cache;
pub mod kernels;
pub mod products;

/// The sizes of a decoder.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    /// What it is called.
    pub name: &'static str,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width between gate and down.
    pub intermediate: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Tokens of the vocabulary.
    pub vocab: usize,
    /// Bytes of a weight.
    pub weight_bytes: usize,
}

/// The models that the table is about.
pub const DECODERS: [Decoder; 3] = [
    Decoder { name: "small", hidden: 384, intermediate: 960, heads: 6, kv_heads: 2, head_dim: 64, vocab: 384, weight_bytes: 4 },
    Decoder { name: "SmolVLM-256M", hidden: 576, intermediate: 1536, heads: 9, kv_heads: 3, head_dim: 64, vocab: 49_280, weight_bytes: 2 },
    Decoder {
        name: "Qwen2.5-VL-3B",
        hidden: 2048,
        intermediate: 11_008,
        heads: 16,
        kv_heads: 2,
        head_dim: 128,
        vocab: 151_936,
        weight_bytes: 2,
    },
];
