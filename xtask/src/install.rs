//! `install`: builds, and copies.
//!
//! Each file is written under a temporary name and renamed, so that a program that has a library of an older version
//! mapped keeps that one, and a failure leaves the old one whole.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::{CrateType, Metadata, MetadataCommand};

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

pub(crate) fn install(prefix: &Path, destdir: Option<&Path>, debug: bool) -> Result<()> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(manifest).no_deps().exec();
    let metadata = metadata.map_err(|error| format!("cannot ask cargo for the workspace: {error}"))?;
    let prefix =
        std::path::absolute(prefix).map_err(|error| format!("cannot find {}: {error}", prefix.display()))?;
    let root = match destdir {
        Some(destdir) => destdir.join(prefix.strip_prefix("/").unwrap_or(&prefix)),
        None => prefix.clone(),
    };
    let target = Target { prefix, root };
    let dropins = dropins(&metadata);
    let packages = dropins.iter().map(|one| one.package.as_str()).chain(["commons-cli"]);
    let built = build(&metadata, packages, debug)?;

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

/// The drop-ins that there are: the packages in `compat/` that make a library for C programs.
fn dropins(metadata: &Metadata) -> Vec<DropIn> {
    let compat = metadata.workspace_root.join("compat");
    let of_compat = metadata
        .workspace_packages()
        .into_iter()
        .filter(|package| package.manifest_path.starts_with(&compat));
    let mut found: Vec<DropIn> = of_compat
        .filter_map(|package| {
            let library =
                package.targets.iter().find(|target| target.crate_types.contains(&CrateType::CDyLib))?;
            Some(DropIn {
                package: package.name.to_string(),
                description: package.description.clone().unwrap_or_default(),
                library: library.name.clone(),
                has_archive: library.crate_types.contains(&CrateType::StaticLib),
                directory: package.manifest_path.parent()?.into(),
            })
        })
        .collect();
    found.sort_by(|one, other| one.package.cmp(&other.package));
    found
}

/// Builds, for release unless told otherwise; gives the directory in which what was built lies.
fn build<'p>(metadata: &Metadata, packages: impl Iterator<Item = &'p str>, debug: bool) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or(OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.current_dir(&metadata.workspace_root).arg("build");
    if !debug {
        command.arg("--release");
    }
    for package in packages {
        command.args(["--package", package]);
    }
    let status = command.status().map_err(|error| format!("cannot run cargo: {error}"))?;
    if !status.success() {
        return Err(format!("the build failed: {status}"));
    }
    Ok(metadata.target_directory.join(if debug { "debug" } else { "release" }).into())
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
