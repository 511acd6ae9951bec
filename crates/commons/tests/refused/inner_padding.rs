use commons::Shareable;
use commons::shared::NoPadding;

#[repr(C)]
#[derive(Clone, Copy, Shareable)]
struct Gap {
    small: u8,
    large: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Shareable, NoPadding)]
struct Outer {
    gap: Gap, //~ `Gap` may have bytes that belong to no value //~ a struct says so with #[derive(Clone, Copy, Shareable, NoPadding)]
}
