//! Templates of strangers: compiled with checks of what they build, and rendered where they cannot end the program.
//!
//! The engine's fuel pays for instructions and for what they make at once. It does not see lists that double by `+` before they are read, lists of lists that are short and print without end, values
//! nested so deep that freeing them overflows the stack, or a namespace inside itself. So every instruction that makes a value is followed by a check of the whole of it, as it would print:
//! at most [`MAX_NODES`] values, [`MAX_BYTES`] of text and [`MAX_DEPTH`] levels. What reads a value whole (comparisons, filters) pays for its size in fuel.

use super::TEMPLATE;
use crate::foreign;
use minijinja::machinery::{self, CodeGenerator, Instruction, Instructions, Token};
use minijinja::value::{ObjectRepr, Tuple};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, Value};
use std::collections::BTreeMap;

/// What rendering may cost: instructions, and every 64 bytes of what a template makes, so that it can hold 16 MB at most. A template in use takes a few hundred for each message.
const FUEL: u64 = 250_000;
/// Values in a value, itself included: so many places of lists are 2 MB.
const MAX_NODES: usize = 1 << 16;
/// Bytes of text in a value.
const MAX_BYTES: usize = 4 << 20;
/// Levels of lists in lists.
const MAX_DEPTH: usize = 64;

/// Tags in a template: `elif` nests for the parser. Templates in use have a few hundred.
const MAX_TAGS: usize = 5_000;
/// Words in a tag: `a + a + a` nests for the parser.
const MAX_WORDS: usize = 5_000;
/// Room for what may be nested within these limits; of it only what is touched is taken from the system.
const STACK_BYTES: usize = 64 << 20;

/// The checks, as filters; no template can write these names.
const BUILT: &str = "built!";
const STORED: &str = "stored!";

/// Bounds the work of every rendering with `environment`, and takes away what Jinja has not and what prints all there is.
pub(super) fn bound(environment: &mut Environment<'_>) {
    environment.set_fuel(Some(FUEL));
    environment.add_filter(BUILT, built);
    environment.add_filter(STORED, stored);
    environment.remove_global("debug");
    environment.remove_filter("chain");
    environment.remove_filter("zip");
}

/// Whether `source` is a template that can be rendered.
pub(super) fn check(environment: &Environment<'_>, source: &str) -> Result<(), Error> {
    on_large_stack(|| compile(environment, source).map(drop))
}

/// The text that the template `source`, which [`check`] found good, makes of `context`.
pub(super) fn render(environment: &Environment<'_>, source: &str, context: &Value) -> Result<String, Error> {
    on_large_stack(|| {
        let (instructions, blocks) = compile(environment, source)?;
        let mut text = String::new();
        machinery::eval(
            environment,
            &instructions,
            context.clone(),
            &blocks,
            &mut machinery::make_string_output(&mut text),
            AutoEscape::None,
        )?;
        Ok(text)
    })
}

/// Runs `work` on a thread whose stack holds what the limits allow, wherever it is called.
fn on_large_stack<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    std::thread::scope(|scope| {
        let failed = |error: String| Error::new(ErrorKind::InvalidOperation, error);
        let thread = std::thread::Builder::new().name("chat template".into()).stack_size(STACK_BYTES);
        let thread = thread.spawn_scoped(scope, || foreign::contain(work)).map_err(|error| failed(format!("no thread: {error}")))?;
        thread.join().map_err(|_| failed("the reader failed".into()))?.map_err(failed)?
    })
}

type Compiled<'a> = (Instructions<'a>, BTreeMap<&'a str, Instructions<'a>>);

fn compile<'a>(environment: &Environment<'_>, source: &'a str) -> Result<Compiled<'a>, Error> {
    refuse_what_nests_or_folds(environment, source)?;
    let tree = machinery::parse(source, TEMPLATE, environment.syntax().clone())?;
    let mut generator = CodeGenerator::new(TEMPLATE, source);
    generator.compile_stmt(&tree);
    let (instructions, blocks) = generator.finish();
    Ok((with_checks(&instructions), blocks.into_iter().map(|(name, block)| (name, with_checks(&block))).collect()))
}

/// Sources that would be too deep for the parser, or whose constants would be worked out without end while they are compiled.
fn refuse_what_nests_or_folds(environment: &Environment<'_>, source: &str) -> Result<(), Error> {
    let refused = |what: &str, line: u16| Error::new(ErrorKind::SyntaxError, format!("line {line}: {what}"));
    let (mut tags, mut words, mut has_list, mut has_product, mut after_value) = (0, 0, false, false, false);
    for token in machinery::tokenize(source, false, environment.syntax().clone()) {
        let (token, span) = token?;
        words += 1;
        match token {
            Token::VariableStart | Token::BlockStart => {
                tags += 1;
                (words, has_list, has_product) = (0, false, false);
            }
            // after a value it is an index
            Token::BracketOpen if !after_value => has_list = true,
            Token::Mul => has_product = true,
            _ => {}
        }
        after_value = matches!(token, Token::Ident(_) | Token::BracketClose | Token::ParenClose | Token::Str(_) | Token::String(_));
        if tags > MAX_TAGS {
            return Err(refused(&format!("expected at most {MAX_TAGS} tags"), span.start_line));
        }
        if words > MAX_WORDS {
            return Err(refused(&format!("expected at most {MAX_WORDS} words in a tag"), span.start_line));
        }
        if has_list && has_product {
            return Err(refused("a product in a tag that writes down a list; set the list in a tag of its own", span.start_line));
        }
    }
    Ok(())
}

/// The same program with its checks.
fn with_checks<'a>(instructions: &Instructions<'a>) -> Instructions<'a> {
    let all: Vec<&Instruction<'a>> = (0..).map_while(|index| instructions.get(index)).collect();
    let around = |index: usize| (before(all[index], index > 0 && makes_named(all[index - 1])), after(all[index]));
    // where each is afterwards, its checks before it included, and where the end is
    let mut places = vec![0];
    for index in 0..all.len() {
        let (before, after) = around(index);
        places.push(places[index] + (before.len() + 1 + after.len()) as u32);
    }
    let mut checked = Instructions::new(instructions.name(), instructions.source());
    for (index, &instruction) in all.iter().enumerate() {
        let (before, after) = around(index);
        let number = index as u32;
        for instruction in before.iter().chain([&moved(instruction, &places)]).chain(after) {
            match instructions.get_span(number) {
                Some(span) => checked.add_with_span(instruction.clone(), span),
                None => checked.add_with_line(instruction.clone(), instructions.get_line(number).unwrap_or(1) as u16),
            };
        }
    }
    checked
}

/// The instruction with its jump to where the target is now.
fn moved<'a>(instruction: &Instruction<'a>, places: &[u32]) -> Instruction<'a> {
    let place = |target: u32| places[target as usize];
    match *instruction {
        Instruction::Iterate(target) => Instruction::Iterate(place(target)),
        Instruction::Jump(target) => Instruction::Jump(place(target)),
        Instruction::JumpIfFalse(target) => Instruction::JumpIfFalse(place(target)),
        Instruction::JumpIfFalseOrPop(target) => Instruction::JumpIfFalseOrPop(place(target)),
        Instruction::JumpIfTrueOrPop(target) => Instruction::JumpIfTrueOrPop(place(target)),
        Instruction::BuildMacro(name, target, flags) => Instruction::BuildMacro(name, place(target), flags),
        _ => instruction.clone(),
    }
}

const CHECK: Instruction<'static> = Instruction::ApplyFilter(BUILT, Some(1), NOT_CACHED);
const NOT_CACHED: u8 = u8::MAX;
/// Checks the last value, the one before it, or both.
const LAST: &[Instruction<'static>] = &[CHECK];
const LAST_BUT_ONE: &[Instruction<'static>] = &[Instruction::Swap, CHECK, Instruction::Swap];
const LAST_TWO: &[Instruction<'static>] = &[CHECK, Instruction::Swap, CHECK, Instruction::Swap];
/// Checks what is put into the namespace, which is the last value.
const PUT: &[Instruction<'static>] = &[Instruction::Swap, Instruction::ApplyFilter(STORED, Some(1), NOT_CACHED), Instruction::Swap];

/// What must be paid before the instruction reads its arguments whole. (`has_named`: the last of them holds named arguments.)
fn before(instruction: &Instruction<'_>, has_named: bool) -> &'static [Instruction<'static>] {
    use Instruction::*;
    match instruction {
        Eq | Ne | Gt | Gte | Lt | Lte | In | CompareAndPreserve(_) => LAST,
        ApplyFilter(_, count, _) | PerformTest(_, count, _) | CallMethod(_, count) => match count {
            Some(2) if has_named => LAST_BUT_ONE,
            _ if has_named => &[],
            Some(2) => LAST_TWO,
            _ => LAST,
        },
        SetAttr(_) => PUT,
        _ => &[],
    }
}

/// Named arguments are an argument of their own, the last, and never come from anywhere else.
fn makes_named(instruction: &Instruction<'_>) -> bool {
    match instruction {
        Instruction::BuildKwargs(_) | Instruction::MergeKwargs(_) => true,
        Instruction::LoadConst(value) => value.is_kwargs(),
        _ => false,
    }
}

/// What must be looked at after the instruction has made a value.
fn after(instruction: &Instruction<'_>) -> &'static [Instruction<'static>] {
    use Instruction::*;
    match instruction {
        Slice | BuildMap(_) | BuildList(_) | BuildTuple(_) | Add | Mul | StringConcat | EndCapture | ApplyFilter(..) | CallFunction(..)
        | CallMethod(..) | CallObject(_) => LAST,
        _ => &[],
    }
}

/// A value that a template has made or reads: paid for, and a list of its own if it was to be made when it is read.
fn built(state: &State<'_, '_>, value: &Value) -> Result<Value, Error> {
    let mut size = Size::default();
    match kind(value) {
        // a namespace, a loop, a macro: as it stands, but without others inside
        Kind::Other => contents(value).try_for_each(|item| size.add(&item, 1))?,
        _ => size.add(value, 0)?,
    }
    state.consume_fuel((size.nodes / 8 + size.bytes / 4096) as u64)?;
    match kind(value) {
        Kind::List if value.downcast_object_ref::<Vec<Value>>().is_none() && value.downcast_object_ref::<Tuple>().is_none() => {
            Ok(value.try_iter()?.collect::<Vec<Value>>().into())
        }
        _ => Ok(value.clone()),
    }
}

/// A value that is put into a namespace, the only thing that can be changed: it could come to be inside itself.
fn stored(state: &State<'_, '_>, value: &Value) -> Result<Value, Error> {
    match kind(value) {
        Kind::Other => Err(refused("puts a namespace, a loop or a macro into a namespace")),
        _ => built(state, value),
    }
}

enum Kind {
    Plain,
    List,
    Map,
    Other,
}

fn kind(value: &Value) -> Kind {
    match value.as_object().map(|object| object.repr()) {
        None => Kind::Plain,
        Some(ObjectRepr::Seq | ObjectRepr::Iterable) => Kind::List,
        Some(ObjectRepr::Map) if value.downcast_object_ref::<BTreeMap<Value, Value>>().is_some() => Kind::Map,
        Some(_) => Kind::Other,
    }
}

/// The values that an object has by name.
fn contents(value: &Value) -> impl Iterator<Item = Value> {
    value.try_iter().into_iter().flatten().filter_map(|name| value.get_item(&name).ok())
}

/// What a value would be if it were written out.
#[derive(Default)]
struct Size {
    nodes: usize,
    bytes: usize,
}

impl Size {
    fn add(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.nodes += 1;
        self.bytes += value.as_bytes().map_or(0, <[u8]>::len);
        if self.nodes > MAX_NODES || self.bytes > MAX_BYTES {
            return Err(refused(&format!("makes a value of more than {MAX_NODES} values or {MAX_BYTES} bytes")));
        }
        if depth > MAX_DEPTH {
            return Err(refused(&format!("makes a value of more than {MAX_DEPTH} levels")));
        }
        match kind(value) {
            Kind::Plain => Ok(()),
            Kind::List => value.try_iter()?.try_for_each(|item| self.add(&item, depth + 1)),
            Kind::Map => contents(value).chain(value.try_iter()?).try_for_each(|item| self.add(&item, depth + 1)),
            Kind::Other => Err(refused("puts a namespace, a loop or a macro into a list")),
        }
    }
}

fn refused(what: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("{what}; no prompt needs it"))
}
