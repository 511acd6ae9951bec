//! `install`: builds for release, and copies.
//!
//! Each file is written under a temporary name and renamed, so that a program that has a library of an older version
//! mapped keeps that one, and a failure leaves the old one whole.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What went wrong, for people.
pub(crate) type Result<T> = std::result::Result<T, String>;

/// A folder of `compat/` that makes a library for C programs.
struct DropIn {
    /// `commons-nspr`
    package: String,
    description: String,
    /// `commons_nspr`
    library: String,
    /// Whether it is made as `.a` as well.
    has_archive: bool,
    directory: PathBuf,
}

/// What a static library needs besides, on Linux with glibc.
const LIBRARIES: &str = "-lgcc_s -lutil -lrt -lpthread -lm -ldl -lc";

struct Target {
    /// As it will be.
    prefix: PathBuf,
    /// Where it is written.
    root: PathBuf,
}

pub(crate) fn install(prefix: &Path, destdir: Option<&Path>) -> Result<()> {
    let workspace =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("this crate lies in no workspace")?;
    let prefix =
        std::path::absolute(prefix).map_err(|error| format!("cannot find {}: {error}", prefix.display()))?;
    let root = match destdir {
        Some(destdir) => destdir.join(prefix.strip_prefix("/").unwrap_or(&prefix)),
        None => prefix.clone(),
    };
    let target = Target { prefix, root };
    let dropins = dropins(workspace)?;
    let packages = dropins.iter().map(|one| one.package.as_str()).chain(["commons-cli"]);
    let built = build(workspace, packages)?;

    let command = target.put(&built.join("commons"), "bin", "commons", 0o755)?;
    for one in &dropins {
        let shared = format!("lib{}.so", one.library);
        target.put(&built.join(&shared), "lib", &shared, 0o755)?;
        if one.has_archive {
            let archive = format!("lib{}.a", one.library);
            target.put(&built.join(&archive), "lib", &archive, 0o644)?;
        }
        let include = one.directory.join("include");
        if include.is_dir() {
            target.put_all(&include, Path::new("include"))?;
        }
        let description = pkg_config(&target.prefix, one);
        target.write("lib/pkgconfig", &format!("{}.pc", one.package), description.as_bytes(), 0o644)?;
    }

    let pages = target.root.join("share/man/man1");
    made(&pages)?;
    run(Command::new(&command).arg("man").arg(&pages))?;
    for (shell, directory, file) in [
        ("bash", "share/bash-completion/completions", "commons"),
        ("zsh", "share/zsh/site-functions", "_commons"),
        ("fish", "share/fish/vendor_completions.d", "commons.fish"),
    ] {
        let script = run(Command::new(&command).arg("completions").arg(shell))?;
        target.write(directory, file, &script, 0o644)?;
    }
    println!("installed in {}", target.root.display());
    Ok(())
}

/// The drop-ins that there are, by their manifests.
fn dropins(workspace: &Path) -> Result<Vec<DropIn>> {
    let compat = workspace.join("compat");
    let entries =
        fs::read_dir(&compat).map_err(|error| format!("cannot read {}: {error}", compat.display()))?;
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let directory = entry.path();
        let Ok(manifest) = fs::read_to_string(directory.join("Cargo.toml")) else { continue };
        let value = |key: &str, after: &str| {
            let from = manifest.find(after)? + after.len();
            let line =
                manifest[from..].lines().find(|line| line.trim_start().starts_with(&format!("{key} = ")))?;
            line.split_once(" = ").map(|(_, value)| value.trim().trim_matches('"').to_owned())
        };
        let kinds = value("crate-type", "[lib]").unwrap_or_default();
        if !kinds.contains("cdylib") {
            continue;
        }
        let missing = |key: &str| format!("{} has no {key}", directory.join("Cargo.toml").display());
        found.push(DropIn {
            package: value("name", "[package]").ok_or_else(|| missing("name"))?,
            description: value("description", "[package]").ok_or_else(|| missing("description"))?,
            library: value("name", "[lib]").ok_or_else(|| missing("library's name"))?,
            has_archive: kinds.contains("staticlib"),
            directory,
        });
    }
    found.sort_by(|one, other| one.package.cmp(&other.package));
    Ok(found)
}

/// Builds for release; gives the directory in which what was built lies.
fn build<'p>(workspace: &Path, packages: impl Iterator<Item = &'p str>) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or(OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.current_dir(workspace).args(["build", "--release"]);
    for package in packages {
        command.args(["--package", package]);
    }
    let status = command.status().map_err(|error| format!("cannot run cargo: {error}"))?;
    if !status.success() {
        return Err(format!("the build failed: {status}"));
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(workspace.join("target"), PathBuf::from);
    Ok(workspace.join(target).join("release"))
}

/// What `pkg-config` is told.
fn pkg_config(prefix: &Path, one: &DropIn) -> String {
    let private = if one.has_archive { format!("Libs.private: {LIBRARIES}\n") } else { String::new() };
    format!(
        "prefix={}\nlibdir=${{prefix}}/lib\nincludedir=${{prefix}}/include\n\nName: {}\nDescription: {}\nVersion: {}\nCflags: -I${{includedir}}\nLibs: -L${{libdir}} -l{}\n{private}",
        prefix.display(),
        one.package,
        one.description,
        env!("CARGO_PKG_VERSION"),
        one.library,
    )
}

impl Target {
    /// Copies a file to a directory below the prefix.
    fn put(&self, from: &Path, directory: &str, name: &str, mode: u32) -> Result<PathBuf> {
        let bytes = fs::read(from).map_err(|error| format!("cannot read {}: {error}", from.display()))?;
        self.write(directory, name, &bytes, mode)
    }

    /// Copies all in a directory, folders too.
    fn put_all(&self, from: &Path, to: &Path) -> Result<()> {
        let failed = |error: std::io::Error| format!("cannot read {}: {error}", from.display());
        for entry in fs::read_dir(from).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (path, name) = (entry.path(), entry.file_name());
            if path.is_dir() {
                self.put_all(&path, &to.join(name))?;
            } else {
                self.put(&path, &to.to_string_lossy(), &name.to_string_lossy(), 0o644)?;
            }
        }
        Ok(())
    }

    fn write(&self, directory: &str, name: &str, bytes: &[u8], mode: u32) -> Result<PathBuf> {
        let directory = self.root.join(directory);
        made(&directory)?;
        let (path, temporary) = (directory.join(name), directory.join(format!(".{name}.new")));
        let written = fs::write(&temporary, bytes)
            .and_then(|()| fs::set_permissions(&temporary, Permissions::from_mode(mode)))
            .and_then(|()| fs::rename(&temporary, &path));
        if let Err(error) = written {
            let _ = fs::remove_file(&temporary);
            return Err(format!("cannot write {}: {error}", path.display()));
        }
        Ok(path)
    }
}

fn made(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).map_err(|error| format!("cannot make {}: {error}", directory.display()))
}

/// Runs a program and gives what it printed.
fn run(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(format!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim_end()))
}
