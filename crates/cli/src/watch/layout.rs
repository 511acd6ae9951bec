//! Where what is drawn, by the size of the terminal: the hexdump goes first, then its header and the key to
//! its keys, then the values under the cursor, then the rest.

use ratatui::layout::Rect;

/// Columns from which on the values stand beside the hexdump.
const WIDE: u16 = 112;
/// Columns of the values beside it.
const SIDE: u16 = 32;
/// Columns that the values take as a table of four.
pub(crate) const TABLE: u16 = 76;
/// Rows of bytes that the values below leave at least.
const ENOUGH: u16 = 4;

/// The parts of the screen; what has no room is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) header: Rect,
    pub(crate) rate: Rect,
    pub(crate) ruler: Rect,
    pub(crate) bytes: Rect,
    pub(crate) values: Rect,
    pub(crate) status: Rect,
}

impl Parts {
    pub(crate) fn of(area: Rect) -> Parts {
        let Rect { width, height, .. } = area;
        let side = width >= WIDE && height >= 12;
        let row = |is_there: bool| u16::from(is_there);
        let header = row(height >= 3);
        let rate = row(height >= 8);
        let ruler = row(height >= 14);
        let status = row(height >= 4);
        let rest = height - header - rate - ruler - status;
        let wanted = if width >= TABLE { 5 } else { 6 };
        let below = if side || rest < ENOUGH + 2 { 0 } else { wanted.min(rest - ENOUGH) };
        let beside = if side { SIDE } else { 0 };
        let mut top = area.y;
        let mut next = |height: u16, width: u16| {
            let part = Rect::new(area.x, top, width, height);
            top += height;
            part
        };
        let mut parts = Parts {
            header: next(header, width),
            rate: next(rate, width),
            ruler: next(ruler, width - beside),
            bytes: next(rest - below, width - beside),
            values: next(below, width),
            status: next(status, width),
        };
        if side {
            let height = parts.ruler.height + parts.bytes.height;
            parts.values = Rect::new(area.x + width - beside, parts.ruler.y, beside, height);
        }
        parts
    }
}

/// How a row of bytes is written: the offset, the bytes in hexadecimal, the bytes as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Digits of the offset; 0 if there is no room for it.
    pub(crate) digits: u16,
    /// Bytes on a row.
    pub(crate) columns: u16,
    /// Spaces between the three.
    gap: u16,
    /// Whether the bytes are there as text.
    pub(crate) text: bool,
}

impl Shape {
    /// The widest that fits for a segment of `size` bytes.
    pub(crate) fn of(width: u16, size: u64) -> Shape {
        let needed = (size.max(1).ilog2() / 4 + 1) as u16;
        let few = needed.max(4);
        let many = few.max(8);
        let shapes = [16, 8, 4].into_iter().flat_map(|columns| {
            let shape = |digits, gap, text| Shape { digits, columns, gap, text };
            [shape(many, 2, true), shape(few, 2, true), shape(few, 1, true)]
        });
        let last = [(few, 1), (0, 0)].map(|(digits, gap)| Shape { digits, columns: 4, gap, text: false });
        let mut all = shapes.chain(last);
        all.find(|shape| shape.width() <= width).unwrap_or(last[1])
    }

    fn width(self) -> u16 {
        if self.text { self.text_at(0) + self.columns } else { self.hex_at(self.columns) - 1 }
    }

    /// Where the byte of a column is in hexadecimal; between two eights there is one more space.
    pub(crate) fn hex_at(self, column: u16) -> u16 {
        self.digits + self.gap + 3 * column + u16::from(column >= 8 && self.columns > 8)
    }

    /// Where it is as text.
    pub(crate) fn text_at(self, column: u16) -> u16 {
        self.hex_at(self.columns) - 1 + self.gap + column
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_bytes_are_on_a_row_as_fit() {
        for (width, size, columns, digits, text) in [
            (1024, 4096, 16, 8, true),
            (80, 1 << 20, 16, 8, true),
            (80, 1 << 40, 16, 11, true),
            (76, 4096, 16, 8, true),
            (73, 4096, 16, 4, true),
            (70, 4096, 16, 4, true),
            (69, 4096, 8, 8, true),
            (40, 4096, 8, 4, true),
            (40, 1 << 40, 4, 11, true),
            (20, 4096, 4, 4, false),
            (12, 4096, 4, 0, false),
            (1, u64::MAX, 4, 0, false),
            (0, 0, 4, 0, false),
        ] {
            let shape = Shape::of(width, size);
            assert_eq!((shape.columns, shape.digits, shape.text), (columns, digits, text), "{width} {size}");
            assert!(shape.width() <= width || width < 11);
        }
    }

    #[test]
    fn every_size_is_divided_up_whole() {
        for width in (0..200).chain([1024]) {
            for height in (0..60).chain([512]) {
                let area = Rect::new(0, 0, width, height);
                let parts = Parts::of(area);
                let all = [parts.header, parts.rate, parts.ruler, parts.bytes, parts.values, parts.status];
                let cells: u32 = all.iter().map(|part| u32::from(part.width) * u32::from(part.height)).sum();
                assert_eq!(cells, u32::from(width) * u32::from(height), "{width}x{height}: {parts:?}");
                assert!(all.iter().all(|part| area.union(*part) == area), "{width}x{height}");
                assert!(height == 0 || parts.bytes.height > 0);
            }
        }
    }
}
