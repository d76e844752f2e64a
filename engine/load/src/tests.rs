//! Runs against a server of a few lines, which decides when it acknowledges.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::{
    Client, LoadError, Login, Plan, Publishers, Stations, Target, Watch, open_loop, publish_durable,
};

/// What the server does about publishes: given the reply subjects that wait for an answer and how many came in all, it answers
/// some with a payload.
type Policy = Box<dyn FnMut(&mut Vec<String>, u64) -> Vec<(String, String)> + Send>;

/// Serves every connection, each on a thread, until the test's process ends.
fn serve(
    policy: impl FnMut(&mut Vec<String>, u64) -> Vec<(String, String)> + Send + 'static,
) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let target = listener.local_addr().expect("its address").into();
    let policy: Arc<Mutex<(Policy, u64)>> = Arc::new(Mutex::new((Box::new(policy), 0)));
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let policy = Arc::clone(&policy);
            // It ends with its connection.
            thread::spawn(move || drop(talk(socket, &policy)));
        }
    });
    target
}

fn talk(mut socket: TcpStream, policy: &Mutex<(Policy, u64)>) -> std::io::Result<()> {
    socket.write_all(b"INFO {}\r\n")?;
    let mut reader = BufReader::new(socket.try_clone()?);
    let mut waiting = Vec::new();
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let fields: Vec<&str> = line.split_whitespace().collect();
        match fields[..] {
            ["PING"] => socket.write_all(b"PONG\r\n")?,
            ["CONNECT", options] if options.contains("\"pass\":\"wrong\"") => {
                socket.write_all(b"-ERR 'Authorization Violation'\r\n")?;
            }
            ["PUB", subject, reply, length] => {
                let mut payload = vec![0; length.parse::<usize>().expect("a length") + 2];
                reader.read_exact(&mut payload)?;
                // API requests are recognised by their subject, which the policy sees.
                let reply = match subject.strip_prefix("$JS.API.") {
                    Some(request) => format!("{request} {reply}"),
                    None => reply.to_owned(),
                };
                waiting.push(reply);
                let mut policy = policy.lock().expect("no test panics in a policy");
                policy.1 += 1;
                let all = policy.1;
                for (reply, payload) in (policy.0)(&mut waiting, all) {
                    let length = payload.len();
                    write!(socket, "MSG {reply} 2 {length}\r\n{payload}\r\n")?;
                }
            }
            _ => {}
        }
    }
}

fn acked(waiting: &mut Vec<String>) -> Vec<(String, String)> {
    let ack = |reply| (reply, "{\"stream\":\"S\",\"seq\":1}".to_owned());
    waiting.drain(..).map(ack).collect()
}

#[test]
fn a_window_is_filled_and_never_passed() {
    let target = serve(|waiting, all| {
        assert!(waiting.len() <= 10, "{} are under way", waiting.len());
        // Only a full window is answered, and the last ones.
        if waiting.len() == 10 || all == 95 {
            acked(waiting)
        } else {
            Vec::new()
        }
    });
    let publishers = Publishers {
        count: 1,
        window: 10,
    };
    let watch = Watch::default();
    let run = publish_durable(&target, "a", &Plan::counting(7, 95), publishers, &watch);
    let run = run.expect("it ends");
    assert_eq!(
        (run.messages, run.latency.count(), watch.moved()),
        (95, 95, 95)
    );
}

#[test]
fn every_publisher_has_its_share() {
    let target = serve(|waiting, _| acked(waiting));
    let publishers = Publishers {
        count: 7,
        window: 1,
    };
    let plan = Plan::counting(0, 100);
    let run = publish_durable(&target, "a", &plan, publishers, &Watch::default());
    assert_eq!(run.expect("it ends").messages, 100);
}

#[test]
fn a_stall_is_charged_with_every_message_due_in_it() {
    // From the 101st on the server is silent until the 400th: a closed loop would wait for ever.
    let target = serve(|waiting, all| {
        if (101..400).contains(&all) {
            Vec::new()
        } else {
            acked(waiting)
        }
    });
    let plan = Plan::counting(16, 1000);
    let open = open_loop(&target, "a", &plan, (2000.0, 1), &Watch::default()).expect("it ends");
    assert_eq!((open.run.messages, open.due), (1000, 1000));
    assert_eq!((open.run.latency.count(), open.late.count()), (1000, 1000));
    // The 400th is sent when it is due, at the earliest; so the 101st waits for 299 of 2,000 a second.
    let longest = open.run.latency.max();
    assert!(longest >= Duration::from_millis(149), "{longest:?}");
    // Every one of the 300 waits: a tenth of all waits for more than 99 ms, a fifth for more than 49 ms.
    let waits = [0.9, 0.8].map(|quantile| open.run.latency.quantile(quantile));
    assert!(waits[0] >= Duration::from_millis(98), "{waits:?}");
    assert!(waits[1] >= Duration::from_millis(48), "{waits:?}");
}

#[test]
fn who_is_not_read_holds_up_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let target = listener.local_addr().expect("its address").into();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || -> std::io::Result<()> {
        let lazy = greeted(&listener)?;
        let brisk = greeted(&listener)?;
        acknowledge(brisk, 3)?;
        // Only now, when there has long been no room for more.
        acknowledge(lazy, 3)?;
        // A test that was let down does not wait.
        let _gone = tell.send(());
        Ok(())
    });
    // Each 24 MiB, which no socket holds.
    let publishers = Publishers {
        count: 2,
        window: 3,
    };
    let plan = Plan::counting(8 << 20, 6);
    let run = publish_durable(&target, "a", &plan, publishers, &Watch::default());
    assert_eq!(run.expect("it ends").latency.count(), 6);
    told.recv().expect("all came in whole");
}

/// A connection that has heard the server's first words.
fn greeted(listener: &TcpListener) -> std::io::Result<BufReader<TcpStream>> {
    let mut reader = BufReader::new(listener.accept()?.0);
    let mut line = String::new();
    while line != "PING\r\n" {
        line.clear();
        reader.read_line(&mut line)?;
    }
    reader.get_mut().write_all(b"PONG\r\n")?;
    Ok(reader)
}

/// Reads `count` publishes and answers each.
fn acknowledge(mut reader: BufReader<TcpStream>, count: usize) -> std::io::Result<()> {
    let mut line = String::new();
    let mut seen = 0;
    while seen < count {
        line.clear();
        reader.read_line(&mut line)?;
        let fields: Vec<&str> = line.split_whitespace().collect();
        if let ["PUB", _, reply, length] = fields[..] {
            let mut payload = vec![0; length.parse::<usize>().expect("a length") + 2];
            reader.read_exact(&mut payload)?;
            write!(reader.get_mut(), "MSG {reply} 2 2\r\n{{}}\r\n")?;
            seen += 1;
        }
    }
    Ok(())
}

#[test]
fn refusals_end_a_run() {
    let target = serve(|waiting, all| {
        let mut answers = acked(waiting);
        if all == 5 {
            answers[0].1 = "{\"error\":{\"code\":503}}".to_owned();
        }
        answers
    });
    let publishers = Publishers {
        count: 1,
        window: 1,
    };
    let plan = Plan::counting(1, 100);
    let run = publish_durable(&target, "a", &plan, publishers, &Watch::default());
    assert!(matches!(run, Err(LoadError::Publish(text)) if text.contains("503")));
    let open = open_loop(&target, "a", &plan, (10_000.0, 1), &Watch::default());
    assert!(open.is_ok(), "only the fifth is refused: {open:?}");
}

#[test]
fn a_watch_ends_a_run_that_has_no_end() {
    let watch = Arc::new(Watch::default());
    let stop = Arc::clone(&watch);
    let target = serve(move |waiting, all| {
        if all == 50 {
            stop.stop();
        }
        acked(waiting)
    });
    let publishers = Publishers {
        count: 1,
        window: 4,
    };
    let plan = Plan::counting(1, u64::MAX);
    let run = publish_durable(&target, "a", &plan, publishers, &watch).expect("it ends");
    assert!((50..=54).contains(&run.messages), "{}", run.messages);
}

#[test]
fn who_is_refused_is_told_so() {
    let mut target = serve(|waiting, _| acked(waiting));
    target.login = Login::User {
        user: "ann".to_owned(),
        password: "wrong".to_owned(),
    };
    let error = Client::connect(&target).expect_err("refused");
    assert!(
        matches!(&error, LoadError::Said(text) if text.contains("Authorization")),
        "{error}"
    );
    let nowhere = Target {
        address: "127.0.0.1:1".to_owned(),
        login: Login::Nobody,
    };
    assert!(matches!(
        Client::connect(&nowhere),
        Err(LoadError::Connect { .. })
    ));
}

#[test]
fn requests_are_answered_in_their_order() {
    // Answers come in pairs.
    let target = serve(|waiting, _| {
        if waiting.len() < 2 {
            return Vec::new();
        }
        let answer = |text: String| {
            let (request, reply) = text.split_once(' ').expect("a request");
            (reply.to_owned(), format!("{{\"request\":\"{request}\"}}"))
        };
        waiting.drain(..).map(answer).collect()
    });
    let mut client = Client::connect(&target).expect("connected");
    let names = (0..10).map(|number| (format!("X.{number}"), Value::Null));
    let answers = client.api_many(names, 4).expect("answered");
    let got: Vec<&str> = answers
        .iter()
        .filter_map(|answer| answer["request"].as_str())
        .collect();
    let want: Vec<String> = (0..10).map(|number| format!("X.{number}")).collect();
    assert_eq!(got, want);
}

#[test]
fn every_stream_that_was_made_is_removed() {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&asked);
    let target = serve(move |waiting, _| {
        let answer = |text: String| {
            let (request, reply) = text.split_once(' ').expect("a request");
            seen.lock().expect("alive").push(request.to_owned());
            // The one called gone is not there when it is removed; the one called bad cannot be made.
            let answer = match request {
                "STREAM.DELETE.p-gone" => "{\"error\":{\"err_code\":10059}}",
                "STREAM.CREATE.p-bad" => "{\"error\":{\"err_code\":10052}}",
                _ => "{}",
            };
            (reply.to_owned(), answer.to_owned())
        };
        waiting.drain(..).map(answer).collect()
    });
    let stations = Stations::new(target, "p".to_owned());
    assert_eq!(stations.create("a").expect("made"), "p-a");
    stations.create("gone").expect("made");
    stations.create("b").expect("made");
    stations.create("bad").expect_err("refused");
    stations.remove("p-a").expect("removed");
    stations.close().expect("all are removed");
    stations.close().expect("nothing is left");
    assert!(matches!(stations.create("late"), Err(LoadError::Stopped)));
    let asked = asked.lock().expect("alive");
    let removed: Vec<&str> = asked
        .iter()
        .filter_map(|request| request.strip_prefix("STREAM.DELETE."))
        .collect();
    assert_eq!(removed, ["p-a", "p-gone", "p-b", "p-bad"]);
}
