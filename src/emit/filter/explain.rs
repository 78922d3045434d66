//! Explain: why a filter wants an event or does not, for who asks beforehand.

use std::fmt;

use super::directive::Directive;
use super::parse::{self, Described};
use super::{Filter, FilterError, Subject, value};
use crate::record::Level;

/// Whether an event is wanted, and which directive says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    target: String,
    level: Level,
    decides: Option<Directive>,
    /// What grants it, and inside of which span.
    granted: Option<(Directive, String)>,
    overruled: Vec<String>,
    near: Vec<String>,
}

impl Filter {
    /// Says whether an event is wanted outside of all spans, and why.
    ///
    /// # Examples
    ///
    /// ```
    /// use ttlog::{Filter, Level};
    ///
    /// let filter: Filter = "warn,app=info".parse()?;
    /// let why = filter.explain("app::db", Level::DEBUG, &[]);
    /// assert_eq!(
    ///     why.to_string(),
    ///     "not logged: `app=info` decides for the target app::db and wants INFO and above"
    /// );
    /// # Ok::<(), ttlog::FilterError>(())
    /// ```
    #[must_use]
    pub fn explain(&self, target: &str, level: Level, fields: &[&str]) -> Explanation {
        self.explained(target, level, fields, &[])
    }

    /// Says whether an event is wanted inside of spans, and why. A span is described as a directive
    /// names it: `request`, `request{user=7,path="/"}` or `app[request{user=7}]`; without a target
    /// it has the event's.
    ///
    /// # Errors
    ///
    /// Names the first span that cannot be read, and why.
    ///
    /// # Examples
    ///
    /// ```
    /// use ttlog::{Filter, Level};
    ///
    /// let filter: Filter = "warn,app[request{user=7}]=debug".parse()?;
    /// let why = filter.explain_in("app::db", Level::DEBUG, &[], &["app[request{user=7,ok=true}]"])?;
    /// assert_eq!(
    ///     why.to_string(),
    ///     "logged: `app[request{user=7}]=debug` grants DEBUG and above inside of \
    ///      app[request{user=7,ok=true}]"
    /// );
    /// # Ok::<(), ttlog::FilterError>(())
    /// ```
    pub fn explain_in(
        &self,
        target: &str,
        level: Level,
        fields: &[&str],
        spans: &[&str],
    ) -> Result<Explanation, FilterError> {
        let described = spans.iter().map(|text| {
            parse::described(text).map_err(|reason| {
                let directive = (*text).to_owned();
                FilterError { directive, at: 1, reason: reason.to_owned() }
            })
        });
        let described: Vec<_> = described.collect::<Result<_, _>>()?;
        Ok(self.explained(target, level, fields, &described))
    }

    fn explained(
        &self,
        target: &str,
        level: Level,
        fields: &[&str],
        spans: &[Described<'_>],
    ) -> Explanation {
        let has = |name: &str| fields.contains(&name);
        let decides = self.decides(target, has).cloned();
        let mut granting = spans.iter().rev().filter_map(|span| {
            let has = |name: &str| span.fields.iter().any(|(other, _)| *other == name);
            let (target, name) = (span.target.unwrap_or(target), span.name);
            let subject = Subject { target, name, level: Level::Trace, is_span: true, has: &has };
            let mut met = 0;
            for (name, text) in &span.fields {
                value::with_described(text, |value| {
                    met |= self.values_met(std::iter::once((*name, value)));
                });
            }
            let (directive, granted) = self.granting(&subject, met)?;
            (level >= granted).then(|| (directive.clone(), span.text.to_owned()))
        });
        let granted = granting.next();
        let decided = |it: &Directive| {
            Some(it) == decides.as_ref()
                || granted.as_ref().is_some_and(|(granting, _)| granting == it)
        };
        let others = || self.directives.iter().filter(|it| !decided(it));
        let overruled = others().filter(|it| it.speaks_of(target, has));
        let near = others().filter(|it| {
            !it.speaks_of(target, has)
                && (target.starts_with(&it.target) || !it.is_static())
                && (it.is_static() || it.level.is_some_and(|granted| level >= granted))
        });
        Explanation {
            target: target.to_owned(),
            level,
            overruled: overruled.map(ToString::to_string).collect(),
            near: near.map(|it| it.why_not(target)).collect(),
            decides,
            granted,
        }
    }
}

impl Explanation {
    /// True when the event is logged.
    #[must_use]
    pub fn is_logged(&self) -> bool {
        self.granted.is_some() || self.is_decided()
    }

    fn is_decided(&self) -> bool {
        let wanted = self.decides.as_ref().and_then(|directive| directive.level);
        wanted.is_some_and(|wanted| self.level >= wanted)
    }

    /// What says so, and the span for which it does.
    fn by(&self) -> (Option<&Directive>, Option<&str>) {
        match &self.granted {
            Some((directive, span)) if !self.is_decided() => (Some(directive), Some(span)),
            _ => (self.decides.as_ref(), None),
        }
    }

    /// The directive that decides, as it can be written; `None` when none speaks of the event.
    #[must_use]
    pub fn directive(&self) -> Option<String> {
        self.by().0.map(ToString::to_string)
    }

    /// Directives that speak of the event too and are overruled by a longer target or more fields.
    #[must_use]
    pub fn overruled(&self) -> &[String] {
        &self.overruled
    }

    /// Why directives that look as if they spoke of the event do not, a sentence each.
    #[must_use]
    pub fn near(&self) -> &[String] {
        &self.near
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = &self.target;
        let (Some(directive), span) = self.by() else {
            return write!(f, "not logged: no directive speaks of the target {target}");
        };
        let logged = if self.is_logged() { "logged" } else { "not logged" };
        write!(f, "{logged}: `{directive}` ")?;
        f.write_str(&match span {
            None => format!("decides for the target {target} and wants "),
            Some(_) => "grants ".to_owned(),
        })?;
        match directive.level {
            Some(Level::Error) => f.write_str("ERROR alone")?,
            Some(Level::Trace) => f.write_str("every level")?,
            Some(level) => write!(f, "{level} and above")?,
            None => f.write_str("nothing")?,
        }
        span.map_or(Ok(()), |span| write!(f, " inside of {span}"))
    }
}
