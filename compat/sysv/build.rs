//! Whether the compiler has naked functions (1.88), without which `dlopen` cannot be stood in for.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(naked_functions)");
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(compiler).arg("--version").output();
    let minor = version.ok().and_then(|output| {
        let text = String::from_utf8(output.stdout).ok()?;
        text.split_whitespace().nth(1)?.split('.').nth(1)?.parse::<u32>().ok()
    });
    if minor.is_some_and(|minor| minor >= 88) {
        println!("cargo:rustc-cfg=naked_functions");
    }
}
