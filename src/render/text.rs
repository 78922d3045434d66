//! Text: one event as one line for people, and as logfmt.

use crate::record::{Level, Value};

use super::escape;
use super::{Event, Format, Lost, Renderer, Thread, number, span, value};

const RESET: &[u8] = b"\x1b[0m";
const DIM: &[u8] = b"\x1b[2m";

/// Appends one event in the formats for people.
pub(super) fn event(event: &Event<'_>, renderer: &mut Renderer, out: &mut Vec<u8>) {
    time(event.time_ns, renderer, out);
    paint(renderer, colour(event.level()), out);
    out.extend_from_slice(name(event.level()).as_bytes());
    unpaint(renderer, out);
    if !event.shape.text_target.is_empty() {
        out.push(b' ');
        paint(renderer, DIM, out);
        out.extend_from_slice(&event.shape.text_target);
        out.push(b':');
        unpaint(renderer, out);
    }
    if !event.spans.is_empty() {
        out.push(b' ');
        paint(renderer, DIM, out);
        span::text(event.spans, out);
        out.push(b':');
        unpaint(renderer, out);
    }
    let message = event.message(&mut renderer.message);
    if !message.is_empty() {
        out.push(b' ');
        escape::plain(message, out);
    }
    fields(event, renderer, out);
    if event.is_truncated() {
        out.extend_from_slice(b" (truncated)");
    }
    if event.late {
        out.extend_from_slice(b" (late)");
    }
    if renderer.format == Format::Verbose {
        origin(event, renderer, out);
    }
    out.push(b'\n');
}

fn time(time_ns: i64, renderer: &mut Renderer, out: &mut Vec<u8>) {
    paint(renderer, DIM, out);
    match renderer.format {
        Format::Short => renderer.calendar.short(time_ns, out),
        _ => renderer.calendar.iso(time_ns, out),
    }
    unpaint(renderer, out);
    out.push(b' ');
}

fn fields(event: &Event<'_>, renderer: &Renderer, out: &mut Vec<u8>) {
    for (i, (_, value)) in event.values().enumerate() {
        if value == Value::Empty || event.shape.name(i).is_none() {
            continue;
        }
        paint(renderer, DIM, out);
        out.extend_from_slice(&event.shape.text_keys[i]);
        unpaint(renderer, out);
        match (renderer.format, value) {
            // Others read it as one word: blanks in it would end it.
            (Format::Logfmt, Value::Nested(json)) => escape::word(json, out),
            _ => value::text(value, out),
        }
    }
}

fn origin(event: &Event<'_>, renderer: &Renderer, out: &mut Vec<u8>) {
    paint(renderer, DIM, out);
    out.extend_from_slice(b" |");
    thread(event.thread(), event.pid, out);
    let definition = &event.shape.definition;
    if !definition.file.is_empty() {
        out.extend_from_slice(b" at=");
        let mut place = definition.file.clone();
        if definition.line > 0 {
            place.push_str(&format!(":{}", definition.line));
        }
        escape::word(&place, out);
    }
    unpaint(renderer, out);
}

fn thread(thread: Thread<'_>, pid: u32, out: &mut Vec<u8>) {
    if thread.id != 0 || !thread.name.is_empty() {
        out.extend_from_slice(b" thread=");
        let mut word = thread.name.as_bytes().to_vec();
        if !word.is_empty() {
            word.push(b'/');
        }
        number::unsigned(thread.id.into(), &mut word);
        escape::word(&String::from_utf8_lossy(&word), out);
    }
    if pid != 0 {
        out.extend_from_slice(b" pid=");
        number::unsigned(pid.into(), out);
    }
}

/// Appends lost events in the formats for people.
pub(super) fn lost(lost: &Lost<'_>, renderer: &mut Renderer, out: &mut Vec<u8>) {
    time(lost.time_ns, renderer, out);
    paint(renderer, b"\x1b[1;31m", out);
    out.extend_from_slice(b"LOST ");
    number::unsigned(lost.losses.total(), out);
    out.extend_from_slice(if lost.losses.total() == 1 { b" event" } else { b" events" });
    unpaint(renderer, out);
    for (i, (cause, level, count)) in lost.losses.iter().enumerate() {
        let before = if i == 0 { " (" } else { ", " };
        out.extend_from_slice(format!("{before}{level} {count} {}", cause.as_str()).as_bytes());
    }
    out.push(b')');
    thread(lost.thread, lost.pid, out);
    out.push(b'\n');
}

/// Appends one event as logfmt.
pub(super) fn logfmt(event: &Event<'_>, renderer: &mut Renderer, out: &mut Vec<u8>) {
    out.extend_from_slice(b"time=");
    renderer.calendar.iso(event.time_ns, out);
    out.extend_from_slice(b" level=");
    out.extend_from_slice(lower(event.level()).as_bytes());
    let definition = &event.shape.definition;
    if !definition.target.is_empty() {
        out.extend_from_slice(b" target=");
        escape::word(&definition.target, out);
    }
    let message = event.message(&mut renderer.message);
    if !message.is_empty() {
        out.extend_from_slice(b" msg=");
        escape::word(message, out);
    }
    fields(event, renderer, out);
    if !event.spans.is_empty() {
        out.extend_from_slice(b" spans=");
        let mut spans = Vec::new();
        span::text(event.spans, &mut spans);
        escape::word(&String::from_utf8_lossy(&spans), out);
    }
    if event.is_truncated() {
        out.extend_from_slice(b" truncated=true");
    }
    thread(event.thread(), event.pid, out);
    out.push(b'\n');
}

/// Appends lost events as logfmt.
pub(super) fn lost_logfmt(lost: &Lost<'_>, renderer: &mut Renderer, out: &mut Vec<u8>) {
    for (cause, level, count) in lost.losses.iter() {
        out.extend_from_slice(b"time=");
        renderer.calendar.iso(lost.time_ns, out);
        out.extend_from_slice(b" kind=lost level=");
        out.extend_from_slice(lower(level).as_bytes());
        out.extend_from_slice(b" lost=");
        number::unsigned(count, out);
        out.extend_from_slice(b" cause=");
        out.extend_from_slice(cause.as_str().as_bytes());
        thread(lost.thread, lost.pid, out);
        out.push(b'\n');
    }
}

/// The level's name at the width of the longest.
const fn name(level: Level) -> &'static str {
    match level {
        Level::Trace => "TRACE",
        Level::Debug => "DEBUG",
        Level::Info => "INFO ",
        Level::Warn => "WARN ",
        Level::Error => "ERROR",
    }
}

const fn lower(level: Level) -> &'static str {
    match level {
        Level::Trace => "trace",
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}

const fn colour(level: Level) -> &'static [u8] {
    match level {
        Level::Trace => b"\x1b[35m",
        Level::Debug => b"\x1b[34m",
        Level::Info => b"\x1b[32m",
        Level::Warn => b"\x1b[33m",
        Level::Error => b"\x1b[1;31m",
    }
}

fn paint(renderer: &Renderer, code: &[u8], out: &mut Vec<u8>) {
    if renderer.colour {
        out.extend_from_slice(code);
    }
}

fn unpaint(renderer: &Renderer, out: &mut Vec<u8>) {
    paint(renderer, RESET, out);
}
