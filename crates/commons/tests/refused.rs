//! What may not lie in shared memory does not compile, and the compiler says why, and what to use instead.
//!
//! Each file in `refused/` is compiled. Where a line ends in `//~ TEXT`, the compiler has to show that line and say TEXT, which may be given for a line more than once.
//! A file that begins with `// errors: N` gets so many errors, and no more.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The library that this test was built with: the newest one beside it.
fn library() -> Option<PathBuf> {
    let beside = std::env::current_exe().unwrap();
    let files = beside.parent()?.read_dir().ok()?.filter_map(|file| Some(file.ok()?.path()));
    let libraries = files.filter(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libcommons-") && name.ends_with(".rlib")
    });
    libraries.max_by_key(|file| file.metadata().and_then(|metadata| metadata.modified()).ok())
}

/// What the compiler says; `None` if it is content.
fn compile(library: &Path, name: &str, code: &str) -> Option<String> {
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let directory = tempfile::tempdir().unwrap();
    let code: Vec<_> = code.lines().map(|line| line.split("//~").next().unwrap_or_default()).collect();
    let stripped = directory.path().join(name);
    std::fs::write(&stripped, code.join("\n")).unwrap();
    let output = Command::new(compiler)
        .args(["--edition=2024", "--crate-type=lib", "--emit=metadata", "--color=never", "--extern"])
        .arg(format!("commons={}", library.display()))
        .arg("-L")
        .arg(format!("dependency={}", library.parent().unwrap().display()))
        .arg("--out-dir")
        .arg(directory.path())
        .arg(stripped)
        .output()
        .unwrap();
    (!output.status.success()).then(|| String::from_utf8(output.stderr).unwrap())
}

#[test]
fn what_cannot_be_shared_does_not_compile() {
    let test = "what_cannot_be_shared_does_not_compile";
    let Some(library) = library() else {
        return eprintln!("SKIPPED: {test}: needs the library beside the test");
    };
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/refused");
    let mut sources: Vec<_> = sources.read_dir().unwrap().map(|file| file.unwrap().path()).collect();
    sources.sort();
    let mut failures = String::new();
    for source in sources {
        let name = source.file_name().unwrap().to_string_lossy().into_owned();
        let code = std::fs::read_to_string(&source).unwrap();
        let said = compile(&library, &name, &code);
        if name == "accepted.rs" {
            // That the compiler finds the library at all.
            if said.as_ref().is_some_and(|said| said.contains("E0514") || said.contains("E0463")) {
                return eprintln!("SKIPPED: {test}: needs the compiler that built the library");
            }
            assert_eq!(said, None, "{name}");
            continue;
        }
        let Some(said) = said else {
            failures += &format!("{name}: compiles\n");
            continue;
        };
        let errors: Vec<_> = said.split("\n\n").filter(|part| part.starts_with("error")).collect();
        let most = code.strip_prefix("// errors: ").and_then(|code| code.lines().next()?.parse().ok());
        let found = errors.iter().filter(|error| !error.starts_with("error: aborting")).count();
        if most.is_some_and(|most: usize| most != found) {
            failures += &format!("{name}: {found} errors\n{said}\n");
        }
        for (line, code) in code.lines().enumerate() {
            for text in code.split("//~ ").skip(1).map(str::trim_end) {
                let place = format!("{name}:{}:", line + 1);
                let shown = format!("{} |", line + 1);
                let is_about = |error: &str| {
                    error.contains(&place) || error.lines().any(|line| line.trim_start().starts_with(&shown))
                };
                if !errors.iter().any(|error| is_about(error) && error.contains(text)) {
                    failures += &format!("{place} nobody says: {text}\n{said}\n");
                }
            }
        }
    }
    assert!(failures.is_empty(), "{failures}");
}
