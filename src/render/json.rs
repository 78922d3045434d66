//! JSON: one object a line, keys in a fixed order, absent when empty.

use crate::record::{Cause, Level, Value};

use super::escape;
use super::time::Calendar;
use super::{Event, Lost, Renderer, Thread, number, span, value};

/// Appends one event as one line.
pub(super) fn event(event: &Event<'_>, renderer: &mut Renderer, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"time":""#);
    renderer.calendar.iso(event.time_ns, out);
    out.extend_from_slice(&event.shape.json_head);
    let message = event.message(&mut renderer.message);
    if !message.is_empty() {
        out.extend_from_slice(br#","message":""#);
        escape::json(message, out);
        out.push(b'"');
    }
    fields(event, out);
    span::json(event.spans, out);
    if event.is_truncated() {
        out.extend_from_slice(br#","truncated":true"#);
    }
    thread(event.thread(), event.pid, out);
    out.extend_from_slice(&event.shape.json_tail);
}

fn fields(event: &Event<'_>, out: &mut Vec<u8>) {
    let mut before: &[u8] = br#","fields":{"#;
    for (i, (_, value)) in event.values().enumerate() {
        if value == Value::Empty || event.shape.name(i).is_none() {
            continue;
        }
        out.extend_from_slice(before);
        out.extend_from_slice(&event.shape.json_keys[i]);
        value::json(value, out);
        before = b",";
    }
    if before == b"," {
        out.push(b'}');
    }
}

fn thread(thread: Thread<'_>, pid: u32, out: &mut Vec<u8>) {
    if thread.id != 0 || !thread.name.is_empty() {
        out.extend_from_slice(br#","thread":{"id":"#);
        number::unsigned(thread.id.into(), out);
        if !thread.name.is_empty() {
            out.extend_from_slice(br#","name":""#);
            escape::json(thread.name, out);
            out.push(b'"');
        }
        out.push(b'}');
    }
    if pid != 0 {
        out.extend_from_slice(br#","pid":"#);
        number::unsigned(pid.into(), out);
    }
}

/// Appends lost events, one line for each cause.
pub(super) fn lost(lost: &Lost<'_>, calendar: &mut Calendar, out: &mut Vec<u8>) {
    for cause in Cause::ALL {
        let mut before: &[u8] = br#","kind":"lost","lost":{"#;
        let start = out.len();
        out.extend_from_slice(br#"{"time":""#);
        calendar.iso(lost.time_ns, out);
        out.push(b'"');
        for level in Level::ALL {
            let count = lost.losses.get(cause, level);
            if count == 0 {
                continue;
            }
            out.extend_from_slice(before);
            out.push(b'"');
            out.extend_from_slice(level.as_str().as_bytes());
            out.extend_from_slice(b"\":");
            number::unsigned(count, out);
            before = b",";
        }
        if before != b"," {
            out.truncate(start);
            continue;
        }
        out.extend_from_slice(br#"},"cause":""#);
        out.extend_from_slice(cause.as_str().as_bytes());
        out.push(b'"');
        thread(lost.thread, lost.pid, out);
        out.extend_from_slice(b"}\n");
    }
}
