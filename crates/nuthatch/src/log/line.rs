//! One line of the log, for people and for programs.
//!
//! The one rule: whatever the message and fields contain, a line stays one line; a key or a name
//! cannot forge another line.

use std::io::{self, Write};
use std::time::SystemTime;

use humantime::format_rfc3339_millis;
use log::Record;
use log::kv::{self, Key, Value, VisitSource, VisitValue};

/// `[2026-11-25 16:00:00.123] WARN  server ejected pool=cache reason="Connection refused"`
pub(super) fn write_text(
    line: &mut Vec<u8>,
    record: &Record<'_>,
    now: SystemTime,
) -> io::Result<()> {
    let time = format_rfc3339_millis(now).to_string().replace('T', " ");
    write!(line, "[{}] {:<5} ", time.trim_end_matches('Z'), record.level())?;
    write_printable(line, &record.args().to_string())?;
    each_figure(record, |name, value| {
        write!(line, " {name}=")?;
        let value = value.to_string();
        let is_one_word = !value.is_empty() && !value.contains([' ', '"']);
        if is_one_word {
            write_printable(line, &value)
        } else {
            write!(line, "\"")?;
            write_printable(line, &value.replace('\\', "\\\\").replace('"', "\\\""))?;
            write!(line, "\"")
        }
    })?;
    line.write_all(b"\n")
}

/// `{"time":"2026-11-25T16:00:00.123Z","level":"warn","message":"server ejected","pool":"cache"}`
pub(super) fn write_json(
    line: &mut Vec<u8>,
    record: &Record<'_>,
    now: SystemTime,
) -> io::Result<()> {
    let level = record.level().as_str().to_ascii_lowercase();
    let time = format_rfc3339_millis(now);
    write!(line, "{{\"time\":\"{time}\",\"level\":\"{level}\",\"message\":")?;
    serde_json::to_writer(&mut *line, &record.args().to_string())?;
    each_figure(record, |name, value| {
        debug_assert!(!["time", "level", "message"].contains(&name), "{name} would be there twice");
        line.write_all(b",")?;
        serde_json::to_writer(&mut *line, name)?;
        line.write_all(b":")?;
        let mut number = Number(None);
        if value.visit(&mut number).is_ok()
            && let Number(Some(number)) = number
        {
            return write!(line, "{number}");
        }
        Ok(serde_json::to_writer(&mut *line, &value.to_string())?)
    })?;
    line.write_all(b"}\n")
}

/// Calls `f` with each named figure of a record, in the order in which they stand there; one that is none is left
/// out.
fn each_figure(
    record: &Record<'_>,
    f: impl FnMut(&str, &Value<'_>) -> io::Result<()>,
) -> io::Result<()> {
    struct Each<F>(F);
    impl<'v, F: FnMut(&str, &Value<'_>) -> io::Result<()>> VisitSource<'v> for Each<F> {
        fn visit_pair(&mut self, name: Key<'v>, value: Value<'v>) -> Result<(), kv::Error> {
            let mut none = IsNone(false);
            if value.visit(&mut none).is_ok() && none.0 {
                return Ok(());
            }
            (self.0)(name.as_str(), &value).map_err(kv::Error::from)
        }
    }
    record.key_values().visit(&mut Each(f)).map_err(io::Error::other)
}

/// Whether a figure is none.
struct IsNone(bool);

impl<'v> VisitValue<'v> for IsNone {
    fn visit_any(&mut self, _: Value<'_>) -> Result<(), kv::Error> {
        Ok(())
    }

    fn visit_null(&mut self) -> Result<(), kv::Error> {
        self.0 = true;
        Ok(())
    }
}

/// A figure that is a whole number, which JSON has without quotes.
struct Number(Option<i128>);

impl<'v> VisitValue<'v> for Number {
    fn visit_any(&mut self, _: Value<'_>) -> Result<(), kv::Error> {
        Ok(())
    }

    fn visit_u64(&mut self, number: u64) -> Result<(), kv::Error> {
        self.0 = Some(number.into());
        Ok(())
    }

    fn visit_i64(&mut self, number: i64) -> Result<(), kv::Error> {
        self.0 = Some(number.into());
        Ok(())
    }

    fn visit_u128(&mut self, number: u128) -> Result<(), kv::Error> {
        self.0 = number.try_into().ok();
        Ok(())
    }
}

/// Writes control characters as escapes.
fn write_printable(line: &mut Vec<u8>, text: &str) -> io::Result<()> {
    for c in text.chars() {
        if c.is_control() {
            write!(line, "{}", c.escape_default())?;
        } else {
            write!(line, "{c}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use log::Level;
    use log::kv::ToValue;

    use super::*;

    type Write = fn(&mut Vec<u8>, &Record<'_>, SystemTime) -> io::Result<()>;

    fn line(write: Write, words: &str, figures: &[(&str, Value<'_>)]) -> String {
        let now = UNIX_EPOCH + Duration::from_millis(1_795_460_400_123);
        let mut line = Vec::new();
        let mut record = Record::builder();
        record.level(Level::Warn).key_values(&figures);
        write(&mut line, &record.args(format_args!("{words}")).build(), now).unwrap();
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn people_read_words_and_then_figures() {
        let figures = [("pool", "cache".into()), ("reason", "Is down".into()), ("ms", 30.into())];
        assert_eq!(
            line(write_text, "server ejected", &figures),
            "[2026-11-23 19:00:00.123] WARN  server ejected pool=cache reason=\"Is down\" ms=30\n"
        );
    }

    #[test]
    fn a_figure_that_is_none_is_left_out() {
        let (none, is_there) = (None::<bool>, Some(true));
        let figures = [("gutter", none.to_value()), ("ms", 30.into())];
        let text = line(write_text, "server ejected", &figures);
        assert!(text.ends_with("WARN  server ejected ms=30\n"), "{text}");
        let figures = [("gutter", is_there.to_value())];
        let text = line(write_text, "server ejected", &figures);
        assert!(text.ends_with("WARN  server ejected gutter=true\n"), "{text}");
    }

    #[test]
    fn programs_read_one_object() {
        let figures = [("pool", "a \"b\"".into()), ("requests", 30_usize.into())];
        let text = line(write_json, "server down", &figures);
        assert_eq!(
            text,
            "{\"time\":\"2026-11-23T19:00:00.123Z\",\"level\":\"warn\",\
             \"message\":\"server down\",\"pool\":\"a \\\"b\\\"\",\"requests\":30}\n"
        );
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
    }

    #[test]
    fn a_name_cannot_forge_a_line() {
        assert_eq!(
            line(write_text, "x", &[("end", "a \\".into())]).split_once("x ").unwrap().1,
            "end=\"a \\\\\"\n"
        );
        let figures = [("server", "a\n[2026] ERROR b\"\t\u{7f}é".into()), ("none", "".into())];
        let text = line(write_text, "x\ny", &figures);
        let (_, text) = text.split_once("WARN  ").unwrap();
        assert_eq!(text, "x\\ny server=\"a\\n[2026] ERROR b\\\"\\t\\u{7f}é\" none=\"\"\n");
        assert_eq!(line(write_json, "x\ny", &figures).matches('\n').count(), 1);
    }
}
