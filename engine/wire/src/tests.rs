//! Every split of the bytes gives the same operations; what is encoded parses back; errors keep their words.

use proptest::prelude::*;

use crate::{
    ClientOp, ConnectOptions, Limits, Parser, ProtocolError, ServerInfo, ServerOp, ServerParser,
    put_connect, put_error, put_hmsg, put_hpub, put_info, put_msg, put_number, put_pub, put_sub,
    put_unsub,
};

const LIMITS: Limits = Limits {
    max_control_line: 64,
    max_payload: 256,
};

/// Feeds `bytes` in pieces of the given sizes (then one by one) and writes down what comes out.
fn replay(bytes: &[u8], pieces: &[usize]) -> Vec<String> {
    let mut parser = Parser::new(LIMITS);
    let mut seen = Vec::new();
    let (mut start, mut end) = (0, 0);
    let mut pieces = pieces.iter();
    loop {
        loop {
            match parser.next(&bytes[start..end]) {
                Ok(Some((op, used))) => {
                    seen.push(format!("{op:?}"));
                    start += used;
                }
                Ok(None) => break,
                Err(error) => {
                    seen.push(error.to_string());
                    return seen;
                }
            }
        }
        assert!(parser.needed() > end - start, "asks for bytes it has");
        if end == bytes.len() {
            return seen;
        }
        end = bytes
            .len()
            .min(end + pieces.next().copied().unwrap_or(1).max(1));
    }
}

fn word() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9.*>_$-]{1,12}"
}

/// Bytes of one operation; some of them wrong.
fn operation() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop::collection::vec(any::<u8>(), 0..300);
    prop_oneof![
        (word(), prop::option::of(word()), payload.clone()).prop_map(
            |(subject, reply, payload)| {
                let mut out = Vec::new();
                put_pub(
                    &mut out,
                    subject.as_bytes(),
                    reply.as_deref().map(str::as_bytes),
                    &payload,
                );
                out
            }
        ),
        (word(), prop::option::of(word()), word(), payload).prop_map(
            |(subject, reply, value, payload)| {
                let mut out = Vec::new();
                let headers = format!("NATS/1.0\r\nA: {value}\r\n\r\n");
                let reply = reply.as_deref().map(str::as_bytes);
                put_hpub(
                    &mut out,
                    subject.as_bytes(),
                    reply,
                    headers.as_bytes(),
                    &payload,
                );
                out
            }
        ),
        (word(), prop::option::of(word()), word()).prop_map(|(subject, queue, sid)| {
            let mut out = Vec::new();
            let queue = queue.as_deref().map(str::as_bytes);
            put_sub(&mut out, subject.as_bytes(), queue, sid.as_bytes());
            out
        }),
        (word(), prop::option::of(any::<u32>())).prop_map(|(sid, max)| {
            let mut out = Vec::new();
            put_unsub(&mut out, sid.as_bytes(), max.map(u64::from));
            out
        }),
        prop::sample::select(vec![
            "PING\r\n",
            "pong\n",
            "+OK\r\n",
            "-ERR 'x'\r\n",
            "CONNECT {\"a\":1}\r\n",
            "Info {}\r\n",
            "pub\ta  b\t1\r\nx\r\n",
            "PUB a 5\r\n12345XX",
            "PUB a\r\n",
            "\r\n",
            "GET / HTTP/1.1\r\n",
            "hpub a 9 3\r\n",
            "SUB\r\n",
            "UNSUB 1 x\r\n",
            "PUB a -1\r\n",
            "PUBX a 1\r\n",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        (0_usize..90).prop_map(|length| format!("SUB {} 1\r\n", "s".repeat(length)).into_bytes()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_gives_the_same_operations(
        operations in prop::collection::vec(operation(), 1..8),
        pieces in prop::collection::vec(1_usize..40, 0..40),
    ) {
        let bytes = operations.concat();
        let whole = replay(&bytes, &[bytes.len()]);
        prop_assert_eq!(&replay(&bytes, &pieces), &whole);
        prop_assert_eq!(&replay(&bytes, &[]), &whole);
    }

    #[test]
    fn any_bytes_are_survived(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        operations in prop::collection::vec(operation(), 0..4),
        at in any::<prop::sample::Index>(),
        pieces in prop::collection::vec(1_usize..20, 0..20),
    ) {
        let mut mixed = operations.concat();
        let cut = at.index(mixed.len() + 1);
        let tail = mixed.split_off(cut);
        mixed.append(&mut bytes);
        mixed.extend(tail);
        prop_assert_eq!(replay(&mixed, &pieces), replay(&mixed, &[mixed.len()]));
        let mut parser = ServerParser::new();
        let mut start = 0;
        while let Ok(Some((_, used))) = parser.next(&mixed[start..]) {
            start += used;
        }
    }

    #[test]
    fn server_operations_read_back(
        subject in word(), sid in word(), reply in prop::option::of(word()),
        headers in prop::option::of(word()),
        payload in prop::collection::vec(any::<u8>(), 0..300), cut in any::<prop::sample::Index>(),
    ) {
        let reply = reply.as_deref().map(str::as_bytes);
        let headers = headers.map(|value| format!("NATS/1.0\r\nA: {value}\r\n\r\n")).unwrap_or_default();
        let mut out = Vec::new();
        if headers.is_empty() {
            put_msg(&mut out, subject.as_bytes(), sid.as_bytes(), reply, &payload);
        } else {
            put_hmsg(&mut out, subject.as_bytes(), sid.as_bytes(), reply, headers.as_bytes(), &payload);
        }
        let mut parser = ServerParser::new();
        let first = cut.index(out.len());
        prop_assert_eq!(parser.next(&out[..first]), Ok(None));
        let want = ServerOp::Msg {
            subject: subject.as_bytes(), sid: sid.as_bytes(), reply,
            headers: headers.as_bytes(), payload: &payload,
        };
        prop_assert_eq!(parser.next(&out), Ok(Some((want, out.len()))));
    }

    #[test]
    fn numbers_are_decimal(number in any::<usize>()) {
        let mut out = Vec::new();
        put_number(&mut out, number);
        prop_assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
    }
}

fn error(bytes: &[u8]) -> ProtocolError {
    let mut parser = Parser::new(LIMITS);
    let mut start = 0;
    loop {
        match parser.next(&bytes[start..]) {
            Ok(Some((_, used))) => start += used,
            Ok(None) => panic!("no error in {bytes:?}"),
            Err(error) => return error,
        }
    }
}

#[test]
fn errors_are_named_as_early_as_possible() {
    // No line end needed to see that this is no NATS client.
    assert_eq!(error(b"GET"), ProtocolError::UnknownOperation);
    assert_eq!(error(b"PING\r\n\r\n"), ProtocolError::UnknownOperation);
    assert_eq!(error(b"PUB a 1\r\nxyz"), ProtocolError::UnknownOperation);
    assert_eq!(error(b"PUB a x\r\n"), ProtocolError::Arguments);
    assert_eq!(error(b"PUB a b c 1\r\n"), ProtocolError::Arguments);
    assert_eq!(error(b"HPUB a 12 10\r\n"), ProtocolError::Arguments);
    assert_eq!(
        error(b"PUB a 99999999999999999999\r\n"),
        ProtocolError::Arguments
    );
    // Refused before the payload is there.
    assert_eq!(error(b"PUB a 257\r\n"), ProtocolError::Payload);
    let endless = [b"CONNECT ".as_slice(), &[b'{'; 66]].concat();
    assert_eq!(error(&endless), ProtocolError::ControlLine);
    assert_eq!(
        ProtocolError::ControlLine.to_string(),
        "maximum control line exceeded"
    );
}

#[test]
fn operations_ignore_case_and_extra_blanks() {
    let mut parser = Parser::new(LIMITS);
    let want = ClientOp::Pub {
        subject: b"a.b",
        reply: Some(b"r"),
        headers: b"",
        payload: b"hi",
    };
    assert_eq!(
        parser.next(b"pUb \t a.b\tr  2\nhi\r\n"),
        Ok(Some((want, 19)))
    );
    let unsub = ClientOp::Unsub {
        sid: b"7",
        max: Some(3),
    };
    assert_eq!(parser.next(b"unsub 7 3\r\nPING"), Ok(Some((unsub, 11))));
}

#[test]
fn connect_defaults_are_the_talkative_ones() {
    let bare = ConnectOptions::parse(b"{}").unwrap();
    assert!(bare.verbose && bare.pedantic && bare.echo);
    assert!(!bare.headers && !bare.no_responders);
    let sent = br#"{"verbose":false,"echo":null,"user":"u","pass":"p","sig":"x","protocol":1}"#;
    let sent = ConnectOptions::parse(sent).unwrap();
    assert!(!sent.verbose && sent.echo);
    assert_eq!(sent.user.as_deref(), Some("u"));
    assert!(
        !format!("{sent:?}").contains("\"p\""),
        "passwords stay out of logs"
    );
    assert!(ConnectOptions::parse(b"[]x").is_err());

    let mut out = Vec::new();
    put_connect(&mut out, &sent);
    let mut parser = Parser::new(Limits::default());
    let Ok(Some((ClientOp::Connect(json), _))) = parser.next(&out) else {
        panic!("no CONNECT")
    };
    assert_eq!(ConnectOptions::parse(json).unwrap(), sent);
}

#[test]
fn info_and_errors_read_back() {
    let info = ServerInfo {
        server_id: "N1".into(),
        max_payload: 9,
        headers: true,
        ..ServerInfo::default()
    };
    let mut out = Vec::new();
    put_info(&mut out, &info);
    put_error(&mut out, "Stale Connection");
    let mut parser = ServerParser::new();
    let Ok(Some((ServerOp::Info(json), used))) = parser.next(&out) else {
        panic!("no INFO")
    };
    assert_eq!(serde_json::from_slice::<ServerInfo>(json).unwrap(), info);
    let (op, _) = parser.next(&out[used..]).unwrap().unwrap();
    assert_eq!(op, ServerOp::Err(b"Stale Connection"));
}
