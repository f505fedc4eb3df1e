//! One round of an ordinary rumqttc client over TLS: publish, subscribe, retained, will, persistent session.
//! usage: round PORT CA_FILE USERNAME PASSWORD VERSION; exit 0 and "ok" when every step held.

use std::env;
use std::fs;

/// The same round for both of rumqttc's modules: same names, other types.
macro_rules! round {
    ($module:ident, $library:path, $will:expr, $keep:expr) => {
        mod $module {
            use std::collections::VecDeque;
            use std::time::{Duration, Instant};

            use mqtt::mqttbytes::QoS;
            use mqtt::{Client, Connection, Event, Incoming, MqttOptions};
            use rumqttc::Transport;
            use $library as mqtt;

            const STEP_MAX: Duration = Duration::from_secs(10);
            const REQUESTS_MAX: usize = 10;

            pub struct Server {
                pub port: u16,
                pub authority: Vec<u8>,
                pub username: String,
                pub password: String,
            }

            impl Server {
                fn options(&self, name: &str) -> MqttOptions {
                    let mut options = MqttOptions::new(
                        format!("{}-{name}", self.username),
                        "localhost",
                        self.port,
                    );
                    options.set_credentials(&self.username, &self.password);
                    options.set_transport(Transport::tls(self.authority.clone(), None, None));
                    options
                }

                fn open(&self, name: &str) -> Guest {
                    Guest::connect(self.options(name))
                }

                fn open_kept(&self, name: &str) -> Guest {
                    let mut options = self.options(name);
                    $keep(&mut options);
                    Guest::connect(options)
                }
            }

            struct Guest {
                client: Client,
                connection: Connection,
                inbox: VecDeque<(String, String, bool)>,
            }

            impl Guest {
                fn connect(options: MqttOptions) -> Guest {
                    let (client, connection) = Client::new(options, REQUESTS_MAX);
                    let mut guest = Guest {
                        client,
                        connection,
                        inbox: VecDeque::new(),
                    };
                    guest.until("CONNACK", |packet| matches!(packet, Incoming::ConnAck(_)));
                    guest
                }

                /// Read until such a packet is here; messages wait in the inbox.
                fn until(&mut self, what: &str, wanted: impl Fn(&Incoming) -> bool) {
                    let end = Instant::now() + STEP_MAX;
                    loop {
                        let left = end.saturating_duration_since(Instant::now());
                        let event = match self.connection.recv_timeout(left) {
                            Ok(Ok(event)) => event,
                            other => panic!("{what} did not come: {other:?}"),
                        };
                        let Event::Incoming(packet) = event else {
                            continue;
                        };
                        if let Incoming::Publish(message) = &packet {
                            let topic =
                                String::from_utf8_lossy(message.topic.as_ref()).into_owned();
                            let payload = String::from_utf8_lossy(&message.payload).into_owned();
                            self.inbox.push_back((topic, payload, message.retain));
                        }
                        if wanted(&packet) {
                            return;
                        }
                    }
                }

                fn subscribe(&mut self, topic: &str, qos: QoS) {
                    self.client.subscribe(topic, qos).unwrap();
                    self.until("SUBACK", |packet| matches!(packet, Incoming::SubAck(_)));
                }

                fn publish(&mut self, topic: &str, payload: &str, qos: QoS, retain: bool) {
                    self.client
                        .publish(topic, qos, retain, payload.as_bytes().to_vec())
                        .unwrap();
                    match qos {
                        QoS::AtMostOnce => {}
                        QoS::AtLeastOnce => {
                            self.until("PUBACK", |packet| matches!(packet, Incoming::PubAck(_)))
                        }
                        QoS::ExactlyOnce => {
                            self.until("PUBCOMP", |packet| matches!(packet, Incoming::PubComp(_)))
                        }
                    }
                }

                fn expect(&mut self, topic: &str, payload: &str, retain: bool) {
                    if self.inbox.is_empty() {
                        self.until(topic, |packet| matches!(packet, Incoming::Publish(_)));
                    }
                    let expected = (topic.to_owned(), payload.to_owned(), retain);
                    assert_eq!(self.inbox.pop_front(), Some(expected));
                }

                /// DISCONNECT, and read until the broker has closed.
                fn leave(mut self) {
                    self.client.disconnect().unwrap();
                    while let Ok(Ok(_)) = self.connection.recv_timeout(STEP_MAX) {}
                }

                /// Close the connection without DISCONNECT.
                fn cut(self) {
                    drop(self.connection);
                }
            }

            fn publish_subscribe(server: &Server) {
                let mut guest = server.open("ra");
                for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                    let topic = format!("rust/{}", qos as u8);
                    guest.subscribe(&topic, qos);
                    guest.publish(&topic, "hello", qos, false);
                    guest.expect(&topic, "hello", false);
                }
                guest.leave();
            }

            fn retained(server: &Server) {
                let mut guest = server.open("ra");
                guest.publish("rust/kept", "kept", QoS::AtLeastOnce, true);
                guest.subscribe("rust/kept", QoS::AtLeastOnce);
                guest.expect("rust/kept", "kept", true);
                guest.publish("rust/kept", "", QoS::AtLeastOnce, true);
                guest.leave();
            }

            fn will(server: &Server) {
                let mut witness = server.open("ra");
                witness.subscribe("rust/will", QoS::AtLeastOnce);
                let mut options = server.options("rb");
                options.set_last_will($will("rust/will", "gone"));
                Guest::connect(options).cut();
                witness.expect("rust/will", "gone", false);
                witness.leave();
            }

            fn persistent_session(server: &Server) {
                let texts = ["first", "second", "third"];
                let name = concat!("rc-", stringify!($module)); // a session belongs to one version here
                let mut away = server.open_kept(name);
                away.subscribe("rust/away/#", QoS::ExactlyOnce);
                away.leave();
                let mut publisher = server.open("ra");
                for text in texts {
                    publisher.publish("rust/away/1", text, QoS::AtLeastOnce, false);
                }
                publisher.publish("rust/away/2", "last", QoS::ExactlyOnce, false);
                publisher.leave();
                let mut back = server.open_kept(name);
                for text in texts {
                    back.expect("rust/away/1", text, false);
                }
                back.expect("rust/away/2", "last", false);
                back.until("PUBREL", |packet| matches!(packet, Incoming::PubRel(_)));
                back.leave();
            }

            pub fn make(server: &Server) {
                publish_subscribe(server);
                retained(server);
                will(server);
                persistent_session(server);
            }
        }
    };
}

round!(
    v4,
    rumqttc,
    |topic, payload| mqtt::LastWill::new(topic, payload, QoS::AtLeastOnce, false),
    |options: &mut MqttOptions| {
        options.set_clean_session(false);
    }
);
round!(
    v5,
    rumqttc::v5,
    |topic, payload| mqtt::mqttbytes::v5::LastWill::new(
        topic,
        payload,
        QoS::AtLeastOnce,
        false,
        None
    ),
    |options: &mut MqttOptions| {
        options
            .set_clean_start(false)
            .set_session_expiry_interval(Some(60));
    }
);

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    let [port, ca_file, username, password, version] = &words[..] else {
        panic!("usage: round PORT CA_FILE USERNAME PASSWORD VERSION");
    };
    rustls::crypto::ring::default_provider()
        .install_default()
        .expect("the first provider");
    let (port, authority) = (
        port.parse().expect("a port"),
        fs::read(ca_file).expect("a CA file"),
    );
    let (username, password) = (username.clone(), password.clone());
    match version.as_str() {
        "4" => v4::make(&v4::Server {
            port,
            authority,
            username,
            password,
        }),
        "5" => v5::make(&v5::Server {
            port,
            authority,
            username,
            password,
        }),
        other => panic!("no version {other}"),
    }
    println!("ok");
}
