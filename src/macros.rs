//! Macros: tracing's grammar of events and spans, read by one muncher.
//!
//! ```text
//! info!(…)  event!(…)        which level, which verb
//! info_span!(…)  span!(…)    the same, and then a name
//!   @head                    logger: target: name: parent: in any order, then event!'s level
//!   @fields  @value          a.b = 1, "key" = %x, { NAME } = ?y, user, %req.path, { block }
//!   @message @argument       format string, its arguments
//!   @event  /  @enabled      the expansion; that of a span is an @event whose call begins with `span`
//! ```
//!
//! A call in progress is `[level][logger][name][target][parent]` (`$c`), the names and the list of
//! the fields so far (`$n`, `$l`), and the message that waits behind a block (`$m`).

/// Logs an event at a level that is a constant: `event!(Level::INFO, user = 42, "logged in")`.
///
/// The grammar is tracing's, with `logger: &handle` added: first `logger:`, `target:`, `name:` and
/// `parent:` as needed, then the level, then fields, then a message.
///
/// # Examples
///
/// ```
/// use ttlog::{Level, event};
///
/// let user = "ada";
/// event!(Level::INFO, user, attempts = 3, "logged in after {} ms", 12);
/// event!(target: "audit", Level::WARN, { path = %"/etc".escape_debug() }, "denied");
/// ```
#[macro_export]
macro_rules! event {
    ($($t:tt)+) => { $crate::__event!(@head event [] [] [] [] [] $($t)+) };
}

/// Logs an event at [`Level::Trace`](crate::Level::Trace); see [`event!`] for the grammar.
#[macro_export]
macro_rules! trace {
    ($($t:tt)+) => { $crate::__event!(@head event [$crate::Level::Trace] [] [] [] [] $($t)+) };
}

/// Logs an event at [`Level::Debug`](crate::Level::Debug); see [`event!`] for the grammar.
#[macro_export]
macro_rules! debug {
    ($($t:tt)+) => { $crate::__event!(@head event [$crate::Level::Debug] [] [] [] [] $($t)+) };
}

/// Logs an event at [`Level::Info`](crate::Level::Info); see [`event!`] for the grammar.
///
/// # Examples
///
/// ```
/// ttlog::info!(user.id = 42, ok = true, "request done in {} ms", 1.5);
/// ```
#[macro_export]
macro_rules! info {
    ($($t:tt)+) => { $crate::__event!(@head event [$crate::Level::Info] [] [] [] [] $($t)+) };
}

/// Logs an event at [`Level::Warn`](crate::Level::Warn); see [`event!`] for the grammar.
#[macro_export]
macro_rules! warn {
    ($($t:tt)+) => { $crate::__event!(@head event [$crate::Level::Warn] [] [] [] [] $($t)+) };
}

/// Logs an event at [`Level::Error`](crate::Level::Error); see [`event!`] for the grammar.
#[macro_export]
macro_rules! error {
    ($($t:tt)+) => { $crate::__event!(@head event [$crate::Level::Error] [] [] [] [] $($t)+) };
}

/// Opens a span at a level that is a constant: `span!(Level::INFO, "request", user = 42)`; returns
/// a [`Span`](crate::Span).
///
/// The grammar is tracing's, with `logger: &handle` added: first `logger:`, `target:` and `parent:`
/// as needed, then the level, the name, and fields, the last of which may be a message. `name:` may
/// stand among the first instead of the name behind the level.
///
/// A span is in the one that its thread is in, in the one that `parent: &span` names, or with
/// `parent: None` in none. So is an event.
///
/// # Examples
///
/// ```
/// use ttlog::{Level, field, span};
///
/// let request = span!(Level::INFO, "request", user.id = 42, status = field::Empty);
/// let query = span!(target: "db", parent: &request, Level::DEBUG, "query", table = "orders");
/// query.in_scope(|| ttlog::info!(rows = 3, "found"));
/// request.record("status", 200);
/// ```
#[macro_export]
macro_rules! span {
    ($($t:tt)+) => { $crate::__event!(@head span [] [] [] [] [] $($t)+) };
}

/// Opens a span at [`Level::Trace`](crate::Level::Trace); see [`span!`] for the grammar.
#[macro_export]
macro_rules! trace_span {
    ($($t:tt)+) => { $crate::__event!(@head span [$crate::Level::Trace] [] [] [] [] $($t)+) };
}

/// Opens a span at [`Level::Debug`](crate::Level::Debug); see [`span!`] for the grammar.
#[macro_export]
macro_rules! debug_span {
    ($($t:tt)+) => { $crate::__event!(@head span [$crate::Level::Debug] [] [] [] [] $($t)+) };
}

/// Opens a span at [`Level::Info`](crate::Level::Info); see [`span!`] for the grammar.
#[macro_export]
macro_rules! info_span {
    ($($t:tt)+) => { $crate::__event!(@head span [$crate::Level::Info] [] [] [] [] $($t)+) };
}

/// Opens a span at [`Level::Warn`](crate::Level::Warn); see [`span!`] for the grammar.
#[macro_export]
macro_rules! warn_span {
    ($($t:tt)+) => { $crate::__event!(@head span [$crate::Level::Warn] [] [] [] [] $($t)+) };
}

/// Opens a span at [`Level::Error`](crate::Level::Error); see [`span!`] for the grammar.
#[macro_export]
macro_rules! error_span {
    ($($t:tt)+) => { $crate::__event!(@head span [$crate::Level::Error] [] [] [] [] $($t)+) };
}

/// True when an event with this level and target would be logged: ask before work that only the
/// log needs.
///
/// # Examples
///
/// ```
/// use ttlog::Level;
///
/// if ttlog::enabled!(target: "app::db", Level::DEBUG) {
///     // collect what only the log needs
/// }
/// ```
#[macro_export]
macro_rules! enabled {
    ($($t:tt)+) => { $crate::__event!(@head enabled [] [] [] [] [] $($t)+) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __event {
    (@head $do:ident $v:tt $g:tt $n:tt $t:tt $p:tt logger: $e:expr $(, $($r:tt)*)?) => {
        $crate::__event!(@head $do $v [$e] $n $t $p $($($r)*)?)
    };
    (@head $do:ident $v:tt $g:tt $n:tt $t:tt $p:tt name: $e:expr $(, $($r:tt)*)?) => {
        $crate::__event!(@head $do $v $g [$e] $t $p $($($r)*)?)
    };
    (@head $do:ident $v:tt $g:tt $n:tt $t:tt $p:tt target: $e:expr $(, $($r:tt)*)?) => {
        $crate::__event!(@head $do $v $g $n [$e] $p $($($r)*)?)
    };
    (@head $do:ident $v:tt $g:tt $n:tt $t:tt $p:tt parent: $e:expr $(, $($r:tt)*)?) => {
        $crate::__event!(@head $do $v $g $n $t [$e] $($($r)*)?)
    };
    (@head enabled [] $g:tt $n:tt $t:tt $p:tt $e:expr $(, $($r:tt)*)?) => {
        $crate::__event!(@enabled [$e] $g $n $t $p)
    };
    (@head event [] $g:tt $n:tt $t:tt $p:tt $e:expr $(, $($r:tt)*)?) => {
        $crate::__event!(@fields [[$e] $g $n $t $p] [] () [] $($($r)*)?)
    };
    (@head span [] $g:tt $n:tt $t:tt $p:tt $e:expr $(, $($r:tt)*)?) => {
        $crate::__event!(@head span [$e] $g $n $t $p $($($r)*)?)
    };
    (@head span $v:tt $g:tt [] $t:tt $p:tt $n:expr $(, $($r:tt)*)?) => {
        $crate::__event!(@fields [span $v $g [$n] $t $p] [] () [] $($($r)*)?)
    };
    (@head span $v:tt $g:tt $n:tt $t:tt $p:tt $($r:tt)*) => {
        $crate::__event!(@fields [span $v $g $n $t $p] [] () [] $($r)*)
    };
    (@head event $v:tt $g:tt $n:tt $t:tt $p:tt $($r:tt)*) => {
        $crate::__event!(@fields [$v $g $n $t $p] [] () [] $($r)*)
    };

    // The end of the fields.
    (@fields $c:tt $n:tt $l:tt []) => { $crate::__event!(@event $c $n $l []) };
    (@fields $c:tt $n:tt $l:tt [$($m:tt)+]) => { $crate::__event!(@message $c $n $l $($m)+) };
    // A name with a value.
    (@fields $c:tt $n:tt $l:tt $m:tt $($k:ident).+ = $($r:tt)+) => {
        $crate::__event!(@value $c $n $l $m (Path $crate::__private::stringify!($($k).+)) $($r)+)
    };
    (@fields $c:tt $n:tt $l:tt $m:tt $k:literal = $($r:tt)+) => {
        $crate::__event!(@value $c $n $l $m (Text $k) $($r)+)
    };
    (@fields $c:tt $n:tt $l:tt $m:tt { $($k:tt)+ } = $($r:tt)+) => {
        $crate::__event!(@value $c $n $l $m (Text { $($k)+ }) $($r)+)
    };
    // A name that is also the value.
    (@fields $c:tt $n:tt $l:tt $m:tt ? $($k:ident).+ $(, $($r:tt)*)?) => {
        $crate::__event!(@value $c $n $l $m (Path $crate::__private::stringify!($($k).+))
            ? $($k).+, $($($r)*)?)
    };
    (@fields $c:tt $n:tt $l:tt $m:tt % $($k:ident).+ $(, $($r:tt)*)?) => {
        $crate::__event!(@value $c $n $l $m (Path $crate::__private::stringify!($($k).+))
            % $($k).+, $($($r)*)?)
    };
    (@fields $c:tt $n:tt $l:tt $m:tt $($k:ident).+ $(, $($r:tt)*)?) => {
        $crate::__event!(@value $c $n $l $m (Path $crate::__private::stringify!($($k).+))
            $($k).+, $($($r)*)?)
    };
    // A block of fields; what follows it is the message. Anything else begins the message.
    (@fields $c:tt [] () [] { $($b:tt)* } $(, $($m:tt)*)?) => {
        $crate::__event!(@fields $c [] () [$($($m)*)?] $($b)*)
    };
    (@fields $c:tt $n:tt $l:tt [] $($m:tt)+) => { $crate::__event!(@message $c $n $l $($m)+) };

    (@value $c:tt [$($n:tt)*] $l:tt $m:tt $k:tt ? $e:expr $(, $($r:tt)*)?) => {
        $crate::__event!(@fields $c [$($n)* $k] ($l, &$crate::field::debug(&$e)) $m $($($r)*)?)
    };
    (@value $c:tt [$($n:tt)*] $l:tt $m:tt $k:tt % $e:expr $(, $($r:tt)*)?) => {
        $crate::__event!(@fields $c [$($n)* $k] ($l, &$crate::field::display(&$e)) $m $($($r)*)?)
    };
    (@value $c:tt [$($n:tt)*] $l:tt $m:tt $k:tt $e:expr $(, $($r:tt)*)?) => {
        $crate::__event!(@fields $c [$($n)* $k] ($l, &$e) $m $($($r)*)?)
    };

    (@message $c:tt $n:tt $l:tt $f:literal $(, $($r:tt)*)?) => {
        $crate::__event!(@argument $c $n $l [$f] [] [] fields (fields) $($($r)*)?)
    };
    (@message $c:tt $n:tt $l:tt $f:expr $(, $($r:tt)*)?) => {
        $crate::__event!(@argument $c $n $l [$f] [] [] fields (fields) $($($r)*)?)
    };
    // Each `argument` below is a name of its own: every step of the muncher has its own hygiene.
    (@argument $c:tt $n:tt $l:tt $f:tt [$($k:tt)*] [$($a:tt)*] $i:ident $p:tt
        $name:ident = $e:expr $(, $($r:tt)*)?) => {
        $crate::__event!(@argument $c $n $l $f
            [$($k)* ($crate::__private::stringify!($name))] [$($a)* (argument [$name =] $e)]
            $i ($p, (&$crate::__private::Probe(argument)).capture()) $($($r)*)?)
    };
    (@argument $c:tt $n:tt $l:tt $f:tt [$($k:tt)*] [$($a:tt)*] $i:ident $p:tt
        $e:expr $(, $($r:tt)*)?) => {
        $crate::__event!(@argument $c $n $l $f [$($k)* ("")] [$($a)* (argument [] $e)]
            $i ($p, (&$crate::__private::Probe(argument)).capture()) $($($r)*)?)
    };
    (@argument $c:tt $n:tt $l:tt $f:tt $k:tt $a:tt $i:ident $p:tt) => {
        $crate::__event!(@event $c $n $l [$f $k $a $i $p])
    };

    (@event [[$v:expr] $g:tt $name:tt $target:tt [$($parent:expr)?]] [$(($kind:ident $n:expr))*]
        $l:tt [$([$f:expr] [$(($k:expr))*] [$(($a:ident [$($an:tt)*] $e:expr))*] $i:ident $p:tt)?]
    ) => {{
        // The value expressions may name these two without a path, as in tracing.
        use $crate::field::{debug, display};
        static __TTLOG_CALLSITE: $crate::__private::Callsite =
            $crate::__private::Callsite::new($crate::__private::Metadata {
                level: $v,
                is_span: false,
                name: $crate::__event!(@or $name $crate::__private::concat!(
                    "event ", $crate::__private::file!(), ":", $crate::__private::line!())),
                target: $crate::__event!(@or $target $crate::__private::module_path!()),
                file: $crate::__private::file!(),
                line: $crate::__private::line!(),
                module: $crate::__private::module_path!(),
                fields: &[$($crate::__private::FieldName::$kind($n)),*],
                template: $crate::__event!(@some $($f)?),
                arguments: &[$($($k),*)?],
            });
        if const { $crate::__private::is_compiled($v) } {
            if let $crate::__private::Some(to) = $crate::__event!(@route __TTLOG_CALLSITE $g) {
                $(let to = $crate::__private::below(to, $parent);)?
                $crate::__event!(@emit __TTLOG_CALLSITE to $l
                    $([$f] [$(($k))*] [$(($a [$($an)*] $e))*] $i $p)?)
            }
        }
    }};
    (@event [span [$v:expr] $g:tt [$name:expr] $target:tt $parent:tt] [$(($kind:ident $n:expr))*]
        $l:tt [$([$f:expr] [$(($k:expr))*] [$(($a:ident [$($an:tt)*] $e:expr))*] $i:ident $p:tt)?]
    ) => {{
        use $crate::field::{debug, display};
        static __TTLOG_SPAN: $crate::__private::SpanSite =
            $crate::__private::SpanSite::new($crate::__private::Metadata {
                level: $v,
                is_span: true,
                name: $name,
                target: $crate::__event!(@or $target $crate::__private::module_path!()),
                file: $crate::__private::file!(),
                line: $crate::__private::line!(),
                module: $crate::__private::module_path!(),
                fields: &[$($crate::__private::FieldName::$kind($n)),*],
                template: $crate::__event!(@some $($f)?),
                arguments: &[$($($k),*)?],
            });
        if const { $crate::__private::is_compiled($v) } {
            match $crate::__event!(@route __TTLOG_SPAN $g) {
                $crate::__private::Some(to) => $crate::Span::open(
                    &__TTLOG_SPAN,
                    to,
                    $crate::__event!(@parent $parent),
                    $crate::__event!(@values $l $([$f] [$(([$($an)*] $e))*])?),
                ),
                $crate::__private::None => $crate::Span::disabled(&__TTLOG_SPAN),
            }
        } else {
            $crate::Span::disabled(&__TTLOG_SPAN)
        }
    }};
    (@values $l:tt) => { $l };
    (@values $l:tt [$f:expr] [$(([$($an:tt)*] $e:expr))*]) => {
        ($l, &$crate::__private::format_args!($f, $($($an)* $e),*))
    };
    (@parent []) => { $crate::__private::Parent::Contextual };
    (@parent [$parent:expr]) => { $crate::__private::Parent::explicit($parent) };
    (@emit $site:ident $to:ident $l:tt) => { $crate::__private::emit(&$site, $to, $l) };
    (@emit $site:ident $to:ident $l:tt
        [$f:expr] [$(($k:expr))*] [$(($a:ident [$($an:tt)*] $e:expr))*] $i:ident $p:tt) => {
        match ($l, ($(&$e,)*)) {
            ($i, ($($a,)*)) => {
                use $crate::__private::{Captures as _, CapturesNothing as _};
                $crate::__private::emit_message::<
                    { $crate::__private::is_deferrable($f, &[$($k),*]) }, _, _, _, _
                >(
                    &$site,
                    $to,
                    $i,
                    $p,
                    |out: &mut dyn $crate::__private::Write| {
                        out.write_fmt($crate::__private::format_args!($f, $($($an)* *$a),*))
                    },
                )
            }
        }
    };
    (@enabled [$v:expr] $g:tt $name:tt $target:tt $parent:tt) => {{
        static __TTLOG_CALLSITE: $crate::__private::Callsite =
            $crate::__private::Callsite::new($crate::__private::Metadata {
                level: $v,
                is_span: false,
                name: "",
                target: $crate::__event!(@or $target $crate::__private::module_path!()),
                file: "",
                line: 0,
                module: "",
                fields: &[],
                template: $crate::__private::None,
                arguments: &[],
            });
        (const { $crate::__private::is_compiled($v) })
            && $crate::__event!(@route __TTLOG_CALLSITE $g).is_some()
    }};
    (@route $site:ident []) => { $site.enabled() };
    (@route $site:ident [$g:expr]) => { $site.enabled_for(&$g) };
    (@or [] $default:expr) => { $default };
    (@or [$e:expr] $default:expr) => { $e };
    (@some) => { $crate::__private::None };
    (@some $e:expr) => { $crate::__private::Some($e) };
}
