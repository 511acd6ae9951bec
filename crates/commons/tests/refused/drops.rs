use commons::Shareable;

#[repr(C)]
#[derive(Shareable)]
struct Dropping { //~ nothing is ever dropped in shared memory: `Dropping` cannot have Drop
    a: u8,
}

impl Drop for Dropping {
    fn drop(&mut self) {}
}
