//! Exports: a whole session as a file, read and sent page by page, so that a journal of any length costs little memory.

use std::collections::VecDeque;
use std::io;

use actix_web::http::header::{ACCEPT, CONTENT_DISPOSITION};
use actix_web::web::{Bytes, Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream;

use super::Faces;
use super::error::{Code, Problem};
use super::page::off_the_workers;
use super::parameters::SessionPath;
use super::params::{Params, bad_query};
use super::view::SessionView;
use crate::runtime::CallError;
use crate::runtime::Handle;
use crate::session::id::{Seq, SessionId};
use crate::session::summary::Summary;
use crate::session::visible;
use crate::store::{PAGE_RECORDS_MAX, StoredRecord};

mod markdown;

/// The forms of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// One record a line.
    Jsonl,
    /// One object: the session and its records.
    Json,
    /// The conversation, for people.
    Markdown,
}

impl Format {
    const ALL: [Self; 3] = [Self::Jsonl, Self::Json, Self::Markdown];

    /// Name, media type, and the ending of a file's name.
    fn row(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Jsonl => ("jsonl", "application/jsonl", "jsonl"),
            Self::Json => ("json", "application/json", "json"),
            Self::Markdown => ("markdown", "text/markdown; charset=utf-8", "md"),
        }
    }

    /// What the query asks for, else what the caller accepts.
    fn of(params: &Params, request: &HttpRequest) -> Result<Self, Problem> {
        if let Some(name) = params.text("format") {
            let known = Self::ALL.into_iter().find(|format| format.row().0 == name);
            return known.ok_or_else(|| bad_query(format!("format is {name:?}; there is jsonl, json and markdown")));
        }
        let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
        Self::accepted(accept.unwrap_or("*/*")).ok_or_else(|| {
            let detail = "an export is application/jsonl, application/json or text/markdown: accept one of them";
            Problem::new(Code::NotAcceptable, detail)
        })
    }

    /// The first of the accepted types that there is.
    fn accepted(accept: &str) -> Option<Self> {
        let wanted = accept
            .split(',')
            .map(|item| item.split(';').next().unwrap_or_default().trim());
        wanted.filter(|kind| !kind.is_empty()).find_map(|kind| match kind {
            "*/*" | "application/*" => Some(Self::Jsonl),
            "text/*" => Some(Self::Markdown),
            kind => Self::ALL
                .into_iter()
                .find(|format| format.row().1.split(';').next() == Some(kind)),
        })
    }
}

/// `GET /api/sessions/{id}/export`: the records that there are now.
#[utoipa::path(
    get, path = "/api/sessions/{id}/export", tag = "sessions", operation_id = "exportSession",
    params(
        SessionPath,
        ("format" = Option<String>, Query, pattern = "^(jsonl|json|markdown)$", description = "`jsonl` (a `Record` a line), `json` (one object) or `markdown`; absent, what `Accept` says"),
    ),
    responses((status = 200, description = "The whole session, as a file", headers(("Content-Disposition" = String, description = "A name for the file")), content(
        (String = "application/jsonl"),
        (super::schemas::ExportSchema = "application/json"),
        (String = "text/markdown"),
    ))),
)]
pub(super) async fn export(
    faces: Data<Faces>,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let params = Params::exact(&request, &["format"])?;
    let format = Format::of(&params, &request)?;
    let id = faces.handle.resolve(&id).await?;
    let summary = faces.handle.get(id).await?;
    let (_, media_type, ending) = format.row();
    let name = format!("attachment; filename=\"cc-executor-{}.{ending}\"", id.short());
    let pages = Pages::new(faces.handle.clone(), format, &summary)?;
    Ok(HttpResponse::Ok()
        .content_type(media_type)
        .insert_header((CONTENT_DISPOSITION, name))
        .streaming(stream::unfold(pages, async |mut pages: Pages| {
            let part = pages.next().await?;
            Some((part.map_err(|problem| io::Error::other(problem.to_string())), pages))
        })))
}

/// An export on its way: a page of records in memory at a time.
struct Pages {
    handle: Handle,
    session: SessionId,
    format: Format,
    /// The last record that was sent.
    after: Seq,
    /// The last record that belongs to it.
    head: Seq,
    /// Chunks made and not yet sent.
    ready: VecDeque<Bytes>,
    is_over: bool,
}

impl Pages {
    fn new(handle: Handle, format: Format, summary: &Summary) -> Result<Self, Problem> {
        let beginning = match format {
            Format::Jsonl => String::new(),
            Format::Json => {
                let session = serde_json::to_string(&SessionView::of(summary))
                    .map_err(|error| Problem::new(Code::JournalFailed, error.to_string()))?;
                format!(r#"{{"session":{session},"records":["#)
            }
            Format::Markdown => visible::prose(&markdown::beginning(summary)).into_owned(),
        };
        Ok(Self {
            handle,
            session: summary.session_id,
            format,
            after: Seq(0),
            head: summary.head,
            ready: [Bytes::from(beginning)].into(),
            is_over: false,
        })
    }

    /// The next part; an error cuts the answer off, so that nobody takes a part for the whole.
    async fn next(&mut self) -> Option<Result<Bytes, Problem>> {
        loop {
            if let Some(part) = self.ready.pop_front() {
                if part.is_empty() {
                    continue;
                }
                return Some(Ok(part));
            }
            if self.is_over {
                return None;
            }
            if let Err(problem) = self.read().await {
                self.is_over = true;
                return Some(Err(problem));
            }
        }
    }

    async fn read(&mut self) -> Result<(), Problem> {
        let page = self.handle.records(self.session, self.after, PAGE_RECORDS_MAX).await?;
        self.take(page).await
    }

    async fn take(&mut self, mut page: Vec<StoredRecord>) -> Result<(), Problem> {
        if page.is_empty() {
            // It was removed meanwhile.
            return Err(CallError::NoSuchSession(self.session.to_string()).into());
        }
        let (format, is_first) = (self.format, self.after == Seq(0));
        page.retain(|record| record.seq <= self.head);
        let last = page.last().map(|record| record.seq);
        let text = off_the_workers(move || render(format, &page, is_first)).await?;
        self.ready.push_back(text.into());
        match last {
            Some(last) if last < self.head => self.after = last,
            Some(_) | None => {
                self.is_over = true;
                self.ready.push_back(Bytes::from_static(match self.format {
                    Format::Json => b"]}",
                    Format::Jsonl | Format::Markdown => b"",
                }));
            }
        }
        Ok(())
    }
}

fn render(format: Format, records: &[StoredRecord], is_first: bool) -> String {
    let mut text = String::new();
    for (place, record) in records.iter().enumerate() {
        match format {
            Format::Jsonl => {
                text.push_str(&record.to_json());
                text.push('\n');
            }
            Format::Json => {
                if place > 0 || !is_first {
                    text.push(',');
                }
                text.push_str(&record.to_json());
            }
            Format::Markdown => markdown::record(&mut text, record),
        }
    }
    if format == Format::Markdown {
        // What an agent printed may be meant for a terminal, and this may end in one.
        text = visible::prose(&text).into_owned();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_what_is_accepted() {
        let accepted = |accept| Format::accepted(accept);
        assert_eq!(accepted("*/*"), Some(Format::Jsonl));
        assert_eq!(
            accepted("text/html, application/json;q=0.9, */*;q=0.1"),
            Some(Format::Json)
        );
        assert_eq!(accepted("text/markdown"), Some(Format::Markdown));
        assert_eq!(accepted("text/html"), None);
    }

    #[actix_web::test]
    async fn a_page_without_records_before_the_last_one_cuts_the_export_off() {
        let mut pages = Pages {
            handle: Handle::stopped(),
            session: SessionId::new(),
            format: Format::Json,
            after: Seq(1),
            head: Seq(2),
            ready: VecDeque::new(),
            is_over: false,
        };
        assert!(pages.take(Vec::new()).await.is_err());
        assert!(pages.ready.is_empty(), "nothing says that this was all");
    }
}
