use commons::Shareable;
use commons::shared::NoPadding;

#[repr(C)]
#[derive(Clone, Copy, Shareable, NoPadding)] //~ `Gap` has bytes that belong to no field: order the fields by size, the largest first, or add fields that fill the gaps
struct Gap {
    small: u8,
    large: u32,
}

#[repr(C, align(8))]
#[derive(Clone, Copy, Shareable, NoPadding)] //~ `End` has bytes that belong to no field
struct End {
    small: u8,
}
