//! YAML with the place of everything: text becomes [`Node`]s, each with its line and column.
//!
//! The one rule: values are not interpreted. A scalar is its text, quoted or not, so `"2000"` and
//! `2000` are the same for the checks, as in twemproxy. Anchors and tags have no effect; an alias
//! is refused, because a value should be written where it is used.

use saphyr_parser::{Event, Marker, Parser, ScanError, Span, StrInput};

use super::finding::Mark;

/// A piece of a document.
pub(super) struct Node {
    pub(super) mark: Mark,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    Scalar(String),
    Sequence(Vec<Node>),
    Mapping(Vec<(Node, Node)>),
    /// Something below [`DEPTH_MAX`], which was skipped.
    TooDeep,
}

/// Why a text is not valid YAML, and where.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) mark: Mark,
    pub(super) reason: String,
}

/// Reads all documents of `text`.
pub(super) fn documents(text: &str) -> Result<Vec<Node>, SyntaxError> {
    let mut reader = Reader { events: Parser::new_from_str(text) };
    let mut documents = Vec::new();
    loop {
        match reader.next()? {
            (Event::StreamEnd, _) => return Ok(documents),
            (Event::DocumentStart(_), _) => {
                let first = reader.next()?;
                documents.push(reader.node(first, 0)?);
            }
            _ => {}
        }
    }
}

struct Reader<'t> {
    events: Parser<'t, StrInput<'t>>,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Mark), SyntaxError> {
        match self.events.next() {
            Some(Ok((event, span))) => Ok((event, mark(&span))),
            Some(Err(error)) => Err(syntax_error(&error)),
            None => Ok((Event::StreamEnd, Mark { line: 1, column: 1 })),
        }
    }

    /// The node that begins with `event`; its parts are read up to [`DEPTH_MAX`].
    fn node(
        &mut self,
        (event, mark): (Event<'t>, Mark),
        depth: usize,
    ) -> Result<Node, SyntaxError> {
        let kind = match event {
            Event::Scalar(text, ..) => Kind::Scalar(text.into_owned()),
            Event::SequenceStart(..) | Event::MappingStart(..) if depth == DEPTH_MAX => {
                self.skip()?;
                Kind::TooDeep
            }
            Event::SequenceStart(..) => self.sequence(depth)?,
            Event::MappingStart(..) => self.mapping(depth)?,
            Event::Alias(_) => {
                let reason = "aliases are not supported, write the value itself".into();
                return Err(SyntaxError { mark, reason });
            }
            _ => return Err(SyntaxError { mark, reason: "a value is missing".into() }),
        };
        Ok(Node { mark, kind })
    }

    fn sequence(&mut self, depth: usize) -> Result<Kind, SyntaxError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Kind::Sequence(items)),
                first => items.push(self.node(first, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Kind, SyntaxError> {
        let mut entries = Vec::new();
        loop {
            match self.next()? {
                (Event::MappingEnd, _) => return Ok(Kind::Mapping(entries)),
                first => {
                    let key = self.node(first, depth + 1)?;
                    let second = self.next()?;
                    entries.push((key, self.node(second, depth + 1)?));
                }
            }
        }
    }

    /// Skips the rest of a sequence or mapping, however deep it is.
    fn skip(&mut self) -> Result<(), SyntaxError> {
        let mut open = 1;
        while open > 0 {
            match self.next()?.0 {
                Event::SequenceStart(..) | Event::MappingStart(..) => open += 1,
                Event::SequenceEnd | Event::MappingEnd => open -= 1,
                _ => {}
            }
        }
        Ok(())
    }
}

fn mark(span: &Span) -> Mark {
    at(&span.start)
}

fn at(marker: &Marker) -> Mark {
    Mark { line: marker.line(), column: marker.col() + 1 }
}

fn syntax_error(error: &ScanError) -> SyntaxError {
    SyntaxError { mark: at(error.marker()), reason: error.info().to_owned() }
}

/// Pool, directive, list: nothing that has a meaning is deeper.
const DEPTH_MAX: usize = 3;
