//! Two layouts side by side, for the eyes of whoever has to find out why they differ.

use std::fmt::{self, Write};

use super::description::Description;
use crate::error::Attempt;

/// Lines that are compared at most.
const MOST: usize = 200;

/// What `Error::WrongLayout` says: one line, or with both layouts beneath it.
pub(crate) fn write_wrong_layout(
    attempt: &Attempt,
    found: &Description,
    expected: &Description,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    write!(
        f,
        "cannot {attempt}: it holds `{}` (layout {:016x}), and this program expects `{}` (layout {:016x}); ",
        found.headline(),
        found.fingerprint(),
        expected.headline(),
        expected.fingerprint()
    )?;
    if !f.alternate() {
        return f.write_str(
            "build all programs from one version of the type, or use another name ('{:#}' compares them)",
        );
    }
    f.write_str("build all programs from one version of the type, or use another name\n")?;
    f.write_str(&side_by_side(expected, found))
}

/// Both layouts, the expected one to the left. Between them stands what became of a line: `|` it is another, `<` it is
/// only expected, `>` it is only found.
fn side_by_side(expected: &Description, found: &Description) -> String {
    let lines = |description: &Description| -> Vec<String> {
        let mut lines: Vec<_> = description.text().lines().take(MOST + 1).map(str::to_owned).collect();
        if lines.len() > MOST {
            lines[MOST] = "…".into();
        }
        lines
    };
    let (left, right) = (lines(expected), lines(found));
    let heading = "this program expects";
    let width = left.iter().map(|line| line.chars().count()).max().unwrap_or(0).max(heading.len());
    let mut text = format!("{heading:width$}   the segment holds\n");
    for (left, right) in align(&left, &right) {
        let mark = match (left, right) {
            (Some(left), Some(right)) if left == right => ' ',
            (Some(_), Some(_)) => '|',
            (Some(_), None) => '<',
            (None, _) => '>',
        };
        let (left, right) = (left.unwrap_or_default(), right.unwrap_or_default());
        let line = format!("{left:width$} {mark} {right}");
        // A `String` takes everything.
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text.pop();
    text
}

/// What tells which field a line is about, whatever became of its offset and type.
fn subject(line: &str) -> (usize, &str) {
    let content = line.trim_start_matches(' ');
    let depth = line.len() - content.len();
    // The first line is about the whole.
    let name = if depth == 0 { "" } else { content.split(' ').nth(1).unwrap_or_default() };
    (depth, name)
}

type Pair<'l> = (Option<&'l str>, Option<&'l str>);

/// Lines about the same field stand beside each other: the longest common subsequence of their subjects.
fn align<'l>(left: &'l [String], right: &'l [String]) -> Vec<Pair<'l>> {
    let same = |i: usize, j: usize| subject(&left[i]) == subject(&right[j]);
    // How many pairs there are from line `i` and line `j` on.
    let mut common = vec![vec![0_u32; right.len() + 1]; left.len() + 1];
    for i in (0..left.len()).rev() {
        for j in (0..right.len()).rev() {
            common[i][j] =
                if same(i, j) { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut pairs = Vec::new();
    while i < left.len() || j < right.len() {
        let (has_left, has_right) = (i < left.len(), j < right.len());
        if has_left && has_right && same(i, j) {
            pairs.push((Some(left[i].as_str()), Some(right[j].as_str())));
            (i, j) = (i + 1, j + 1);
        } else if has_left && (!has_right || common[i + 1][j] >= common[i][j + 1]) {
            pairs.push((Some(left[i].as_str()), None));
            i += 1;
        } else {
            pairs.push((None, Some(right[j].as_str())));
            j += 1;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::{Field, Layout, Shareable};

    #[test]
    fn fields_that_were_added_and_moved_show() {
        let expected = Layout::structure(
            "Stats",
            &[],
            24,
            8,
            const {
                &[
                    Field::new("hits", 0, u64::LAYOUT),
                    Field::new("misses", 8, u64::LAYOUT),
                    Field::new("total", 16, u64::LAYOUT),
                ]
            },
        );
        let found = Layout::structure(
            "Stats",
            &[],
            16,
            8,
            const { &[Field::new("hits", 0, u64::LAYOUT), Field::new("total", 8, f64::LAYOUT)] },
        );
        let (expected, found) = (Description::of_layout(&expected), Description::of_layout(&found));
        let text = "\
this program expects           the segment holds
struct Stats size 24 align 8 | struct Stats size 16 align 8
  0 hits u64 8                   0 hits u64 8
  8 misses u64 8             <
  16 total u64 8             |   8 total f64 8";
        assert_eq!(side_by_side(&expected, &found), text);
    }
}
