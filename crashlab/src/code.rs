//! The laboratory's own code in memory: where it may be read, and what people call a place in it.

use std::cell::OnceCell;
use std::ops::Range;

/// Where there is code.
pub(crate) struct Code {
    /// Mapped for executing, and for reading.
    ranges: Vec<(Range<u64>, String)>,
    /// What people call places in the executable, and in libraries from beside it.
    own: Vec<Own>,
}

/// A file of the laboratory's.
struct Own {
    path: String,
    /// What is to be added to an address in the file.
    base: u64,
    symbols: OnceCell<Option<addr2line::Loader>>,
}

/// What an instruction is, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instruction {
    /// A system call: may sleep.
    Call,
    /// An atomic step.
    Atomic,
    /// One that does the same many times, and has so many bytes.
    Repeat(u64),
    Other,
}

impl Code {
    /// As this process is now. Libraries that are loaded later are not in it.
    pub(crate) fn new() -> std::io::Result<Code> {
        let executable = std::env::current_exe()?;
        let beside = executable.parent().map(|directory| directory.to_string_lossy().into_owned());
        let mut ranges = Vec::new();
        let mut own: Vec<Own> = Vec::new();
        for line in std::fs::read_to_string("/proc/self/maps")?.lines() {
            let mut words = line.split_ascii_whitespace();
            let (Some(range), Some(mode)) = (words.next(), words.next()) else { continue };
            let path = words.nth(3).unwrap_or("");
            let Some((start, end)) = range.split_once('-') else { continue };
            let (Ok(start), Ok(end)) = (u64::from_str_radix(start, 16), u64::from_str_radix(end, 16)) else {
                continue;
            };
            // The lowest part comes first.
            if beside.as_ref().is_some_and(|beside| path.starts_with(beside))
                && !own.iter().any(|own| own.path == path)
            {
                own.push(Own { path: path.to_owned(), base: start, symbols: OnceCell::new() });
            }
            if mode.starts_with("r-x") {
                ranges.push((start..end, path.to_owned()));
            }
        }
        Ok(Code { ranges, own })
    }

    fn range(&self, pc: u64) -> Option<&(Range<u64>, String)> {
        self.ranges.iter().find(|(range, _)| range.contains(&pc) && range.contains(&(pc + 8)))
    }

    /// Whether a breakpoint can be put there: in code that comes from a file.
    pub(crate) fn can_break(&self, pc: u64) -> bool {
        self.range(pc).is_some_and(|(_, path)| path.starts_with('/'))
    }

    /// What stands there.
    pub(crate) fn instruction(&self, pc: u64) -> Instruction {
        if self.range(pc).is_none() {
            // Nothing is known of it, so that it may be anything.
            return Instruction::Call;
        }
        // SAFETY: mapped for reading, for eight bytes at least.
        let bytes = unsafe { std::ptr::with_exposed_provenance::<[u8; 4]>(pc as usize).read_unaligned() };
        match bytes {
            [0x0f, 0x05, ..] => Instruction::Call,
            [0xf3 | 0xf2, 0x48, 0xa4..=0xa7 | 0xaa..=0xaf, _] => Instruction::Repeat(3),
            [0xf3 | 0xf2, 0xa4..=0xa7 | 0xaa..=0xaf, ..] => Instruction::Repeat(2),
            [0xf0, ..] | [0x87, ..] | [0x48 | 0x4c | 0x49 | 0x4d, 0x87, ..] => Instruction::Atomic,
            _ => Instruction::Other,
        }
    }

    /// The function and the line, for people; with what called it, as far as the stack shows it, if it is not the
    /// program's own.
    pub(crate) fn place(&self, pc: u64, stack: &[u64]) -> String {
        match self.own(pc) {
            Some(own) => own,
            None => {
                let library = self
                    .range(pc)
                    .map_or("unknown code", |(_, path)| path.rsplit('/').next().unwrap_or(path));
                let caller = stack.iter().find_map(|word| self.own(word.wrapping_sub(1)));
                match caller {
                    Some(caller) => format!("{library}, called at {caller}"),
                    None => format!("{library}+{pc:#x}"),
                }
            }
        }
    }

    /// The innermost function there, for people; the library's name where nothing more is known.
    pub(crate) fn function(&self, pc: u64) -> String {
        let place = self.place(pc, &[]);
        match self.own(pc) {
            Some(own) => {
                own.split(" in ").next().unwrap_or(&own).split(" (").next().unwrap_or(&own).to_owned()
            }
            None => place.split('+').next().unwrap_or(&place).to_owned(),
        }
    }

    /// A place in the executable, or in a library that was built with it.
    fn own(&self, pc: u64) -> Option<String> {
        let (_, path) = self.range(pc)?;
        let own = self.own.iter().find(|own| own.path == *path)?;
        let loader = own.symbols.get_or_init(|| addr2line::Loader::new(path).ok()).as_ref()?;
        let address = pc - own.base;
        let mut frames = loader.find_frames(address).ok()?;
        let mut named = Vec::new();
        while let Ok(Some(frame)) = frames.next() {
            let function = frame.function.and_then(|name| name.demangle().ok().map(|name| shorten(&name)));
            let line = frame.location.and_then(|location| {
                let file = location.file?;
                let file = file.rsplit_once("/src/").map_or(file, |(_, file)| file);
                Some(format!("{file}:{}", location.line.unwrap_or(0)))
            });
            if function.as_deref().is_some_and(is_glue) && !named.is_empty() {
                continue;
            }
            named.push(match (function, line) {
                (Some(function), Some(line)) => format!("{function} ({line})"),
                (Some(function), None) => function,
                (None, Some(line)) => line,
                (None, None) => continue,
            });
        }
        if named.is_empty() {
            return Some(loader.find_symbol(address).map_or_else(
                || format!("{address:#x}"),
                |name| shorten(&addr2line::demangle_auto(name.into(), None)),
            ));
        }
        // What was inlined, then into what.
        named.truncate(4);
        Some(named.join(" in "))
    }
}

/// A function's name without its hash and what it is generic over.
fn shorten(name: &str) -> String {
    let name = match name.rsplit_once("::h") {
        Some((path, hash)) if hash.len() == 16 => path,
        _ => name,
    };
    match name.split_once('<') {
        Some((name, _)) if !name.is_empty() => name.to_owned(),
        _ => name.to_owned(),
    }
}

/// What the compiler puts between one function and another.
fn is_glue(function: &str) -> bool {
    ["call_once", "call_mut", "drop_in_place", "drop", "between", "do_call", "catch_unwind", "{closure#0}"]
        .contains(&function)
}
