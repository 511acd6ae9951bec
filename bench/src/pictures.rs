//! Pictures of the figures, as SVG that reads well on a light and on a dark page: a dot for what each subject takes,
//! with a line for the middle half of the rounds; for works that grow, lines.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::report::{COMMONS, FLOOR, Measurements, Work, time};

const WIDTH: u32 = 1000;
const ROW: i32 = 19;
const HEADING: i32 = 30;
/// Where the subjects' names end and the axis begins.
const NAMES: i32 = 300;
/// Where the axis ends and the figures begin.
const FIGURES: i32 = 90;

const BLUE_: RGBColor = RGBColor(47, 129, 247);
const GREY_: RGBColor = RGBColor(139, 148, 158);
const PEERS: [RGBColor; 5] = [
    RGBColor(207, 126, 12),
    RGBColor(46, 160, 67),
    RGBColor(163, 113, 247),
    RGBColor(219, 97, 162),
    RGBColor(218, 54, 51),
];

/// The page decides which text can be read; attributes in the picture give way to this.
const STYLE: &str = "<style>text { fill: #24292f; font-family: system-ui, sans-serif; } \
    @media (prefers-color-scheme: dark) { text { fill: #e6edf3; } }</style>";

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A table's picture; none if it has no figures that are times.
pub(crate) fn draw(table: &Measurements) -> Result<Option<String>> {
    let works: Vec<&Work> =
        table.works.iter().filter(|work| work.unit.is_time() && work.commons().is_some()).collect();
    if works.is_empty() {
        return Ok(None);
    }
    let grows = works.iter().all(|work| work.growth.is_some());
    let mut text = String::new();
    let drawn = if grows { lines(&works, &mut text) } else { dots(&works, &mut text) };
    drawn.map_err(|error| anyhow!("drawing {}: {error}", table.name))?;
    Ok(Some(styled(&text)))
}

fn styled(svg: &str) -> String {
    let end = svg.find("<svg").and_then(|start| Some(start + svg[start..].find('>')? + 1)).unwrap_or(0);
    format!("{}\n{STYLE}{}", &svg[..end], &svg[end..])
}

/// What a subject takes: its name, the quartiles and the median.
fn figures(work: &Work) -> impl Iterator<Item = (&str, [f64; 3])> {
    work.rows.iter().filter_map(|row| {
        let summary = row.measured.as_ref().ok()?.summary;
        let all = [summary.quartiles.0, summary.median, summary.quartiles.1];
        all.iter().all(|figure| figure.is_finite() && *figure > 0.0).then_some((row.subject.as_str(), all))
    })
}

fn color(subject: &str, peer: usize) -> RGBColor {
    match subject {
        COMMONS => BLUE_,
        FLOOR => GREY_,
        _ => PEERS[peer % PEERS.len()],
    }
}

/// The powers of ten around all figures.
fn range<'a>(works: impl Iterator<Item = &'a &'a Work>) -> (f64, f64) {
    let all = works.flat_map(|work| figures(work)).flat_map(|(_, figures)| figures);
    let (low, high) =
        all.fold((f64::MAX, 0.0_f64), |(low, high), figure| (low.min(figure), high.max(figure)));
    let low = 10_f64.powf((low * 0.8).log10().floor());
    (low, 10_f64.powf((high * 1.2).log10().ceil()).max(low * 10.0))
}

fn dots(works: &[&Work], text: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let rows: i32 = works.iter().map(|work| HEADING + ROW * figures(work).count() as i32).sum();
    let height = (rows + 60) as u32;
    let root = SVGBackend::with_string(text, (WIDTH, height)).into_drawing_area();
    let (low, high) = range(works.iter());
    let (left, right) = (NAMES + 10, WIDTH as i32 - FIGURES);
    let at = |figure: f64| {
        let part = (figure.log10() - low.log10()) / (high.log10() - low.log10());
        left + (part * f64::from(right - left)).round() as i32
    };
    let style = |size: i32| ("sans-serif", size).into_text_style(&root);
    let mut decade = low;
    while decade <= high * 1.001 {
        let x = at(decade);
        root.draw(&PathElement::new(vec![(x, 24), (x, rows + 30)], GREY_.mix(0.35)))?;
        for y in [12, rows + 42] {
            let centred = style(12).pos(Pos::new(HPos::Center, VPos::Center));
            root.draw(&Text::new(round(decade), (x, y), centred))?;
        }
        decade *= 10.0;
    }
    let mut y = 26;
    for work in works {
        let heading = style(14).pos(Pos::new(HPos::Left, VPos::Center));
        root.draw(&Text::new(work.name.clone(), (4, y + HEADING / 2 + 2), heading))?;
        y += HEADING;
        for (subject, [first, median, third]) in figures(work) {
            let middle = y + ROW / 2;
            let color = color(subject, 0);
            root.draw(&Text::new(
                subject.to_string(),
                (NAMES, middle),
                style(12).pos(Pos::new(HPos::Right, VPos::Center)),
            ))?;
            root.draw(&PathElement::new(
                vec![(left, middle), (at(median), middle)],
                color.mix(0.3).stroke_width(1),
            ))?;
            root.draw(&PathElement::new(
                vec![(at(first), middle), (at(third), middle)],
                color.stroke_width(3),
            ))?;
            root.draw(&Circle::new((at(median), middle), 5, color.filled()))?;
            root.draw(&Text::new(
                time(median),
                (WIDTH as i32 - 6, middle),
                style(12).pos(Pos::new(HPos::Right, VPos::Center)),
            ))?;
            y += ROW;
        }
    }
    Ok(root.present()?)
}

/// A power of ten, without digits that say nothing.
fn round(nanoseconds: f64) -> String {
    time(nanoseconds * 1.000_001).replace(".00", "").replace(".0 ", " ")
}

/// How many panels stand side by side.
const ACROSS: usize = 2;

fn lines(works: &[&Work], text: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let mut names: Vec<&str> = works.iter().filter_map(|work| Some(work.growth.as_ref()?.name)).collect();
    names.dedup();
    let down = names.len().div_ceil(ACROSS);
    let root = SVGBackend::with_string(text, (WIDTH, 330 * down as u32)).into_drawing_area();
    for (area, name) in root.split_evenly((down, ACROSS)).iter().zip(names) {
        let panel: Vec<&Work> = works
            .iter()
            .copied()
            .filter(|work| work.growth.as_ref().is_some_and(|growth| growth.name == name))
            .collect();
        draw_panel(area, name, &panel)?;
    }
    Ok(root.present()?)
}

fn draw_panel(area: &Area<'_>, name: &str, works: &[&Work]) -> Result<(), Box<dyn std::error::Error>> {
    let (low, high) = range(works.iter());
    let points: Vec<(f64, &Work)> =
        works.iter().filter_map(|work| Some((work.growth.as_ref()?.at, *work))).collect();
    let (Some((first, work)), Some((last, _))) = (points.first(), points.last()) else { return Ok(()) };
    let axis = work.growth.as_ref().map_or("", |growth| growth.axis);
    let of_bytes = axis == "bytes";
    // Whatever doubles from point to point has its ticks at powers of two.
    let base = if of_bytes {
        1024.0
    } else if axis.starts_with("processes") {
        2.0
    } else {
        10.0
    };
    let mut chart = ChartBuilder::on(area)
        .caption(name, ("sans-serif", 14))
        .margin(8)
        .margin_right(30)
        .x_label_area_size(38)
        .y_label_area_size(58)
        .build_cartesian_2d((*first..*last * 1.1).log_scale().base(base), (low..high).log_scale())?;
    chart
        .configure_mesh()
        .bold_line_style(GREY_.mix(0.3))
        .light_line_style(TRANSPARENT)
        .axis_style(GREY_)
        .x_desc(axis)
        .x_labels(7)
        .y_labels(6)
        .label_style(("sans-serif", 12))
        .x_label_formatter(&|at| if of_bytes { size(*at) } else { format!("{at:.0}") })
        .y_label_formatter(&|figure| round(*figure))
        .draw()?;
    let mut subjects: Vec<&str> =
        works.iter().flat_map(|work| figures(work)).map(|(subject, _)| subject).collect();
    subjects.sort_by_key(|subject| (*subject != COMMONS, *subject != FLOOR, *subject));
    subjects.dedup();
    for (number, subject) in subjects.into_iter().enumerate() {
        let color = color(subject, number.saturating_sub(2));
        let line: Vec<(f64, f64)> = points
            .iter()
            .filter_map(|(at, work)| {
                let (_, [_, median, _]) = figures(work).find(|(other, _)| *other == subject)?;
                Some((*at, median))
            })
            .collect();
        chart
            .draw_series(LineSeries::new(line, color.stroke_width(2)).point_size(3))?
            .label(subject)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], color.stroke_width(3)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(TRANSPARENT)
        .label_font(("sans-serif", 12))
        .draw()?;
    Ok(())
}

/// A size in the unit that suits it.
fn size(bytes: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB"];
    let step = ((bytes.log2() / 10.0).floor() as usize).min(3);
    format!("{:.0} {}", bytes / 1024_f64.powi(step as i32), units[step])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Unit;
    use crate::statistics::Series;

    #[test]
    fn a_picture_names_works_and_subjects_and_follows_the_page() -> Result<()> {
        let work = Work::new("a work", Unit::Microseconds)
            .row(COMMONS, &Series::of(vec![2000.0]))
            .row("a peer", &Series::of(vec![30_000.0]));
        let table = Measurements { name: "t", about: "", works: vec![work.clone()] };
        let svg = draw(&table)?.expect("a picture");
        for part in ["a work", "a peer", "2.00 µs", "30.0 µs", "prefers-color-scheme"] {
            assert!(svg.contains(part), "{part} is missing in {svg}");
        }
        let growing = [1.0, 100.0].map(|at| work.clone().growth("a line", "things", at));
        let svg = draw(&Measurements { name: "t", about: "", works: growing.into() })?.expect("a picture");
        assert!(svg.contains("a line") && svg.contains("things"));
        let counts = Work::new("counts", Unit::Count).row(COMMONS, &Series::of(vec![2.0]));
        assert!(draw(&Measurements { name: "t", about: "", works: vec![counts] })?.is_none());
        Ok(())
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(
            [1.0, 10.0, 100.0, 1e3, 1e7, 1e9].map(round),
            ["1 ns", "10 ns", "100 ns", "1 µs", "10 ms", "1 s"]
        );
        assert_eq!([4096.0, 1_073_741_824.0].map(size), ["4 KiB", "1 GiB"]);
    }
}
