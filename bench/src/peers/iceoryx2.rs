//! The crate `iceoryx2`: publish and subscribe, and its events, under names of this run's own.

use anyhow::{Result, ensure};
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::prelude::*;

use crate::scratch::{self, Directory};

/// Makes whatever takes part, with files in a directory of this run.
pub(crate) struct Messenger {
    config: Config,
    name: ServiceName,
    /// Goes with the last.
    _directory: Directory,
}

impl Messenger {
    pub(crate) fn new(label: &str) -> Result<Messenger> {
        set_log_level(LogLevel::Fatal);
        // Short: the paths of its sockets may have 107 bytes.
        let directory = Directory::new(label)?;
        let mut config = Config::default();
        config.global.set_root_path(&Path::new(directory.path().as_os_str().as_encoded_bytes())?);
        // What is left of a process that is killed is found by this.
        config.global.prefix = FileName::new(scratch::full("").as_bytes())?;
        Ok(Messenger { config, name: ServiceName::new(label)?, _directory: directory })
    }

    fn node(&self) -> Result<Node<ipc::Service>> {
        Ok(NodeBuilder::new()
            .config(&self.config)
            .signal_handling_mode(SignalHandlingMode::Disabled)
            .create::<ipc::Service>()?)
    }

    /// From nothing to a first message received, and all of it taken down again.
    pub(crate) fn first_message(&self) -> Result<()> {
        let node = self.node()?;
        let service = node.service_builder(&self.name).publish_subscribe::<u64>().open_or_create()?;
        let subscriber = service.subscriber_builder().create()?;
        let publisher = service.publisher_builder().create()?;
        publisher.send_copy(42)?;
        let received = subscriber.receive()?;
        ensure!(received.is_some_and(|sample| *sample == 42), "another message came");
        Ok(())
    }

    /// Whoever waits for the other end.
    pub(crate) fn listener(&self) -> Result<Waiter> {
        let node = self.node()?;
        let service = node.service_builder(&self.name).event().open_or_create()?;
        Ok(Waiter { listener: service.listener_builder().create()?, _node: node })
    }

    /// The other end, in another process.
    pub(crate) fn notifier(&self) -> Result<Waker> {
        let node = self.node()?;
        let service = node.service_builder(&self.name).event().open_or_create()?;
        Ok(Waker { notifier: service.notifier_builder().create()?, _node: node })
    }
}

pub(crate) struct Waiter {
    listener: Listener<ipc::Service>,
    _node: Node<ipc::Service>,
}

impl Waiter {
    pub(crate) fn wait(&self) -> Result<()> {
        while self.listener.blocking_wait_one()?.is_none() {}
        Ok(())
    }
}

pub(crate) struct Waker {
    notifier: Notifier<ipc::Service>,
    _node: Node<ipc::Service>,
}

impl Waker {
    pub(crate) fn wake(&self) -> Result<()> {
        self.notifier.notify()?;
        Ok(())
    }
}
