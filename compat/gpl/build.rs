//! Names the shared library, and keeps it loaded once it is: it is told of forks, and threads have their locks
//! registered with the kernel through it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libcommons_gpl.so");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
