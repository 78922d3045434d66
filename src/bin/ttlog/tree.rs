//! Tree: events below the spans that they were logged in, one outermost span after another.

use std::collections::HashMap;
use std::io::Write;

use ttlog::render::Renderer;
use ttlog::view::{Item, Items, Span};

use crate::Failure;
use crate::cat::Shower;
use crate::output::Output;
use crate::spans;

/// An outermost span: its logger and id.
type Root = (u64, u64);

/// The trees whose outermost span has not closed yet.
#[derive(Debug, Default)]
struct Trees {
    /// Leaves spans out that no event is shown in.
    selective: bool,
    roots: HashMap<Root, Vec<Node>>,
    /// In the order in which they began.
    order: Vec<Root>,
}

/// A span; the first of a tree is the outermost.
#[derive(Debug)]
struct Node {
    span: Span,
    below: Vec<Below>,
    /// Busy and idle time, once it has closed.
    times_ns: Option<(u64, u64)>,
}

#[derive(Debug)]
enum Below {
    Line(Vec<u8>),
    /// Index of a span in its tree.
    Span(usize),
}

/// Shows all items as trees: each when its outermost span has closed, the others at the end.
pub(crate) fn show(mut items: Items, shower: &mut Shower, out: &mut Output) -> Result<(), Failure> {
    let mut trees = Trees { selective: shower.is_selective(), ..Trees::default() };
    for item in &mut items {
        match item {
            Ok(Item::Record(record)) if record.spans().is_empty() => {
                shower.render(Ok(Item::Record(record)), &mut out.buffer);
            }
            Ok(Item::Record(record)) => {
                if shower.wants(&record) {
                    let mut event = record.event();
                    event.spans = &[];
                    let mut line = Vec::new();
                    shower.renderer.event(&event, &mut line);
                    if let Some(node) = trees.node(record.logger(), record.spans()) {
                        node.below.push(Below::Line(line));
                    }
                }
            }
            Ok(Item::Span(change)) if !shower.wants_span(&change) => {}
            Ok(Item::Span(change)) => {
                let (logger, spans) = (change.logger(), change.spans());
                if let Some(node) = trees.node(logger, spans) {
                    node.times_ns = change.times_ns();
                }
                if let ([root], Some(_)) = (spans, change.times_ns()) {
                    trees.close((logger, root.id), out)?;
                }
            }
            other => shower.render(other, &mut out.buffer),
        }
        out.pass()?;
    }
    for root in std::mem::take(&mut trees.order) {
        trees.close(root, out)?;
    }
    shower.notes(&mut items);
    Ok(())
}

impl Trees {
    /// The node of the innermost of these spans.
    fn node(&mut self, logger: u64, spans: &[Span]) -> Option<&mut Node> {
        let root = (logger, spans.first()?.id);
        let order = &mut self.order;
        let nodes = self.roots.entry(root).or_insert_with(|| {
            order.push(root);
            Vec::new()
        });
        let mut at: Option<usize> = None;
        for span in spans {
            let found = match at {
                None => (!nodes.is_empty()).then_some(0),
                Some(at) => nodes[at].below.iter().find_map(|below| match below {
                    Below::Span(index) if nodes[*index].span.id == span.id => Some(*index),
                    _ => None,
                }),
            };
            let index = found.unwrap_or(nodes.len());
            match nodes.get_mut(index) {
                // With the fields as they are known by now.
                Some(node) => node.span.clone_from(span),
                None => {
                    let (span, below) = (span.clone(), Vec::new());
                    nodes.push(Node { span, below, times_ns: None });
                    if let Some(parent) = at {
                        nodes[parent].below.push(Below::Span(index));
                    }
                }
            }
            at = Some(index);
        }
        nodes.get_mut(at?)
    }

    fn close(&mut self, root: Root, out: &mut Output) -> Result<(), Failure> {
        self.order.retain(|other| *other != root);
        if let Some(nodes) = self.roots.remove(&root) {
            let shown = if self.selective { with_lines(&nodes) } else { vec![true; nodes.len()] };
            put(&nodes, &shown, 0, 0, out)?;
        }
        Ok(())
    }
}

/// Which nodes have an event in them or below; a node stands behind that which it is below.
fn with_lines(nodes: &[Node]) -> Vec<bool> {
    let mut has = vec![false; nodes.len()];
    for (index, node) in nodes.iter().enumerate().rev() {
        has[index] = node.below.iter().any(|below| match below {
            Below::Line(_) => true,
            Below::Span(index) => has[*index],
        });
    }
    has
}

fn put(
    nodes: &[Node],
    shown: &[bool],
    index: usize,
    depth: usize,
    out: &mut Output,
) -> Result<(), Failure> {
    if !shown[index] {
        return Ok(());
    }
    let node = &nodes[index];
    let indent = "  ".repeat(depth);
    out.buffer.extend_from_slice(indent.as_bytes());
    Renderer::spans(std::slice::from_ref(&node.span), &mut out.buffer);
    match node.times_ns {
        Some((busy, idle)) => {
            writeln!(out.buffer, " busy {} idle {}", spans::shown(busy), spans::shown(idle))?;
        }
        None => writeln!(out.buffer, " open")?,
    }
    for below in &node.below {
        match below {
            Below::Span(index) => put(nodes, shown, *index, depth + 1, out)?,
            Below::Line(line) => {
                out.buffer.extend_from_slice(indent.as_bytes());
                out.buffer.extend_from_slice(b"  ");
                out.buffer.extend_from_slice(line);
            }
        }
    }
    out.pass()?;
    Ok(())
}
