//! Makes the pictures of the documentation from what the command really prints: `docs/pictures/make` runs it, in
//! namespaces of its own. It starts programs that share memory, runs the command in a terminal, and draws the screen.

use std::error::Error;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anstyle::{Ansi256Color, AnsiColor, Color, RgbColor, Style};
use anstyle_svg::Term;
use commons::{Lifetime, SegmentOptions};
use terminal::Terminal;

#[path = "../tests/common/terminal.rs"]
mod terminal;

/// A program of another kind that shares memory, as there is one on every machine.
const PYTHON: &str = "
import mmap, os, time
from multiprocessing import shared_memory
frames = shared_memory.SharedMemory('frames', create=True, size=8 << 20)
frames.buf[: 4 << 20] = bytes(4 << 20)
pool = os.memfd_create('window-pool')
os.ftruncate(pool, 3 << 20)
kept = mmap.mmap(pool, 3 << 20)
kept[: 3 << 20] = bytes(3 << 20)
print('ready', flush=True)
time.sleep(60)
";

/// Programs that end with this one.
struct Actors(Vec<Child>);

impl Drop for Actors {
    fn drop(&mut self) {
        for actor in &mut self.0 {
            let _ = actor.kill();
            let _ = actor.wait();
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, command, directory] = &arguments[..] else { return Err("pictures COMMAND DIRECTORY".into()) };
    let run = |arguments: &[&str]| -> Result<(), Box<dyn Error>> {
        let status = Command::new(command).args(arguments).status()?;
        if status.success() { Ok(()) } else { Err(format!("{arguments:?}: {status}").into()) }
    };
    let mut actors = Actors(Vec::new());
    actors.0.push(Command::new("python3").args(["-c", PYTHON]).stdout(Stdio::null()).spawn()?);
    let hold = |name: &str, size: &str| {
        Command::new(command).args(["hold", name, "--size", size, "--", "sleep", "60"]).spawn()
    };
    actors.0.push(hold("jobs", "1M")?);
    let mut killed = hold("session-17", "16M")?;
    run(&["create", "cache", "64M", "--sparse", "--mode", "0640"])?;
    Command::new("ipcmk").args(["-M", "4194304"]).stdout(Stdio::null()).status()?;
    std::thread::sleep(Duration::from_secs(2));
    killed.kill()?;
    killed.wait()?;

    let picture = |name: &str, arguments: &[&str], columns: u16, rows: u16| -> Result<(), Box<dyn Error>> {
        let mut program = Command::new(command);
        program.args(arguments);
        let mut terminal = Terminal::start(program, columns, rows);
        terminal.end();
        let prompt = format!("$ commons {}", arguments.join(" "));
        save(&Path::new(directory).join(name), &draw(Some(&prompt), terminal.screen()))
    };
    picture("ls.svg", &["ls"], 132, 12)?;
    picture("doctor.svg", &["doctor"], 110, 60)?;

    let jobs = SegmentOptions::new().lifetime(Lifetime::UntilLastDetach).open("jobs")?;
    let bytes = jobs.attach()?;
    bytes.write_at(0, b"job queue v3\0\0\0\0")?;
    let mut program = Command::new(command);
    program.args(["watch", "jobs", "--interval", "100"]);
    let mut terminal = Terminal::start(program, 120, 26);
    terminal.wait_for("job queue");
    let begun = Instant::now();
    let mut round = 0_u64;
    while begun.elapsed() < Duration::from_secs(4) {
        round += 1;
        bytes.write_at(16, &round.to_le_bytes())?;
        bytes.write_at(32 + (round as usize % 12) * 16, &(round * 0x9e37_79b9).to_le_bytes())?;
        bytes.write_at(24, &(round as f32 / 7.0).to_le_bytes())?;
        let until = Instant::now() + Duration::from_millis(40);
        terminal.wait("time to pass", |_| Instant::now() >= until);
    }
    save(&Path::new(directory).join("watch.svg"), &draw(None, terminal.screen()))?;
    terminal.send(b"q");
    terminal.end();
    Ok(())
}

fn save(path: &Path, ansi: &str) -> Result<(), Box<dyn Error>> {
    let term = Term::new()
        .fg_color(Color::Rgb(RgbColor(0xd8, 0xde, 0xe9)))
        .bg_color(Color::Rgb(RgbColor(0x1c, 0x21, 0x28)));
    Ok(std::fs::write(path, term.render_svg(ansi))?)
}

/// The screen as styled text, without what is empty at its end.
fn draw(prompt: Option<&str>, screen: &vt100::Screen) -> String {
    let (rows, columns) = screen.size();
    let mut lines: Vec<String> = prompt.iter().map(|prompt| (*prompt).to_owned()).collect();
    for row in 0..rows {
        let mut line = String::new();
        for column in 0..columns {
            let Some(cell) = screen.cell(row, column).filter(|cell| !cell.is_wide_continuation()) else {
                continue;
            };
            let text = if cell.has_contents() { cell.contents() } else { " ".to_owned() };
            let style = style(cell);
            line.push_str(&format!("{style}{text}{style:#}"));
        }
        lines.push(line.trim_end().to_owned());
    }
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines.join("\n")
}

fn style(cell: &vt100::Cell) -> Style {
    let colour = |colour| match colour {
        vt100::Color::Default => None,
        vt100::Color::Idx(index @ 0..16) => {
            Ansi256Color(index).into_ansi().map(|ansi: AnsiColor| Color::Ansi(ansi))
        }
        vt100::Color::Idx(index) => Some(Color::Ansi256(Ansi256Color(index))),
        vt100::Color::Rgb(red, green, blue) => Some(Color::Rgb(RgbColor(red, green, blue))),
    };
    let mut style = Style::new().fg_color(colour(cell.fgcolor())).bg_color(colour(cell.bgcolor()));
    if cell.bold() {
        style = style.bold();
    }
    if cell.underline() {
        style = style.underline();
    }
    if cell.inverse() {
        style = style.invert();
    }
    style
}
