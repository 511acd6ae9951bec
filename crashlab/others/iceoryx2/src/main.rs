//! iceoryx2's service creation: makes a service, sends a message by it and takes it down until it is killed; or tidies up after
//! dead nodes, as the library says to, and looks whether the same service can be had.
//!
//! Whoever looks ends with 0 (well), 1 (stuck) or 2 (wrong).

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use iceoryx2::prelude::*;

fn config(name: &str) -> Result<Config, Box<dyn Error>> {
    let mut config = Config::default();
    config.global.set_root_path(&Path::new(format!("/dev/shm/{name}.d").as_bytes())?);
    config.global.prefix = FileName::new(name.as_bytes())?;
    Ok(config)
}

fn use_once(config: &Config) -> Result<bool, Box<dyn Error>> {
    let node = NodeBuilder::new()
        .config(config)
        .signal_handling_mode(SignalHandlingMode::Disabled)
        .create::<ipc::Service>()?;
    let service = node.service_builder(&"crash".try_into()?).publish_subscribe::<u64>().open_or_create()?;
    let subscriber = service.subscriber_builder().create()?;
    let publisher = service.publisher_builder().create()?;
    publisher.send_copy(42)?;
    Ok(subscriber.receive()?.is_some_and(|sample| *sample == 42))
}

fn tidy_up(config: &Config) -> Result<(), Box<dyn Error>> {
    Node::<ipc::Service>::list(config, |node| {
        if let NodeState::Dead(dead) = node {
            // What cannot be removed shows in whether the service can be had.
            let _ = dead.try_remove_stale_resources();
        }
        CallbackProgression::Continue
    })?;
    Ok(())
}

fn main() -> ExitCode {
    set_log_level(LogLevel::Fatal);
    let arguments: Vec<String> = std::env::args().collect();
    let [_, _, who, name] = arguments.as_slice() else { return ExitCode::from(2) };
    let Ok(config) = config(name) else { return ExitCode::from(2) };
    if who == "look" {
        if tidy_up(&config).is_err() {
            return ExitCode::from(1);
        }
        return match use_once(&config) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::from(2),
            Err(_) => ExitCode::from(1),
        };
    }
    let mut first = true;
    loop {
        if use_once(&config).is_err() {
            return ExitCode::from(2);
        }
        if std::mem::take(&mut first) {
            let mut out = std::io::stdout();
            let _ = out.write_all(b"r").and_then(|()| out.flush());
        }
    }
}
