//! What was measured on, and when: to be printed above the figures.

use std::fmt;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

/// The machine and the date.
#[derive(Debug)]
pub(crate) struct Machine {
    processor: String,
    kernel: String,
    cores: usize,
    memory: u64,
    pub(crate) date: String,
    /// Which commit of Commons, with `-dirty` if the files differ from it.
    pub(crate) commit: String,
}

impl Machine {
    /// This machine, now.
    pub(crate) fn now() -> Machine {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let name = rustix::system::uname();
        let system = rustix::system::sysinfo();
        #[allow(clippy::useless_conversion, reason = "the field's type differs by architecture")]
        let memory = u64::from(system.totalram) * u64::from(system.mem_unit);
        let today = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86_400);
        Machine {
            processor: model.map_or("unknown processor", |(_, model)| model).into(),
            kernel: format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory,
            date: date(today),
            commit: commit().unwrap_or_else(|| "unknown".into()),
        }
    }

    /// As the report's JSON has it.
    pub(crate) fn json(&self) -> serde_json::Value {
        let Machine { processor, kernel, cores, memory, date, commit } = self;
        serde_json::json!({
            "processor": processor, "kernel": kernel, "cores": cores, "memory": memory, "date": date,
            "commit": commit,
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { processor, kernel, cores, memory, date, commit } = self;
        let gibibytes = *memory as f64 / f64::from(1 << 30);
        write!(f, "{processor}, {cores} cores, {gibibytes:.0} GiB, {kernel}, {date}, commit {commit}")
    }
}

/// What git says of the directory that this program was built in.
fn commit() -> Option<String> {
    let mut git = Command::new("git");
    git.args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty", "--exclude", "*"]);
    let output = git.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
}

/// The date so many days after 1970-01-01 (UTC, Gregorian), by counting in eras of 400 years that begin in
/// March: <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>.
fn date(days: u64) -> String {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates_come_out_right_around_leap_days() {
        let known =
            [(0, "1970-01-01"), (11_016, "2000-02-29"), (11_017, "2000-03-01"), (19_722, "2023-12-31")];
        for (days, expected) in known {
            assert_eq!(super::date(days), expected);
        }
    }
}
