//! The query of a URL, read with errors that name the parameter.

use std::collections::BTreeMap;
use std::str::FromStr;

use actix_web::HttpRequest;
use actix_web::web::Query;

use super::error::{Code, Problem};

/// The parameters of a query; those that are empty count as not given.
#[derive(Debug)]
pub(super) struct Params(BTreeMap<String, String>);

impl Params {
    /// Reads the query of a request, which may have these parameters and no others.
    pub(super) fn of(request: &HttpRequest, known: &[&str]) -> Result<Self, Problem> {
        let pairs = Query::<Vec<(String, String)>>::from_query(request.query_string())
            .map_err(|error| bad_query(error.to_string()))?;
        let mut params = BTreeMap::new();
        for (name, value) in pairs.into_inner() {
            if !known.contains(&name.as_str()) {
                return Err(bad_query(format!(
                    "there is no parameter {name:?} here; there is {}",
                    known.join(", ")
                )));
            }
            if params.contains_key(&name) {
                return Err(bad_query(format!("{name} is given twice")));
            }
            if !value.is_empty() {
                params.insert(name, value);
            }
        }
        Ok(Self(params))
    }

    /// The same for programs, to which an empty parameter is a mistake of theirs; only a text that is searched for may be
    /// empty.
    pub(super) fn exact(request: &HttpRequest, known: &[&str]) -> Result<Self, Problem> {
        let pairs = Query::<Vec<(String, String)>>::from_query(request.query_string());
        let pairs = pairs.map(Query::into_inner).unwrap_or_default();
        match pairs.iter().find(|(name, value)| value.is_empty() && name != "q") {
            Some((name, _)) if known.contains(&name.as_str()) => {
                Err(bad_query(format!("{name} is empty: leave it out")))
            }
            Some(_) | None => Self::of(request, known),
        }
    }

    /// A parameter as it is.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A parameter that is a whole number from 0.
    pub(super) fn number<N: FromStr>(&self, name: &str) -> Result<Option<N>, Problem> {
        self.text(name)
            .map(|text| number(text).ok_or_else(|| bad_query(format!("{name} is {text:?}, not a number from 0"))))
            .transpose()
    }

    /// A parameter that is true or false; absent, it is false.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.text(name) {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(text) => Err(bad_query(format!("{name} is {text:?}, not true or false"))),
        }
    }

    /// How many items a page has: what `limit` says, between 1 and `most`.
    pub(super) fn limit(&self, usual: usize, most: usize) -> Result<usize, Problem> {
        match self.number::<usize>("limit")? {
            None => Ok(usual),
            Some(0) => Err(bad_query("limit must be more than 0".to_owned())),
            Some(limit) => Ok(limit.min(most)),
        }
    }
}

/// A whole number from 0 without signs, no larger than a signed one of 64 bits may be.
pub(super) fn number<N: FromStr>(text: &str) -> Option<N> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let fits = digits && text.parse::<i64>().is_ok();
    text.parse().ok().filter(|_| fits)
}

pub(super) fn bad_query(detail: String) -> Problem {
    Problem::new(Code::BadQuery, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn read(query: &str) -> Result<Params, Problem> {
        let request = TestRequest::with_uri(&format!("/x?{query}")).to_http_request();
        Params::of(&request, &["after", "limit"])
    }

    #[test]
    fn parameters_are_read_by_name() {
        let params = read("after=7&limit=").unwrap();
        assert_eq!(params.number::<u64>("after"), Ok(Some(7)));
        assert_eq!(params.limit(50, 500), Ok(50), "an empty one is none");
        assert_eq!(read("limit=9999").unwrap().limit(50, 500), Ok(500));
    }

    #[test]
    fn a_program_gives_no_empty_parameter() {
        let exact = |query: &str| {
            let request = TestRequest::with_uri(&format!("/x?{query}")).to_http_request();
            Params::exact(&request, &["after", "q"]).map(|_| ())
        };
        assert_eq!(exact("after=1&q="), Ok(()));
        assert!(exact("after=").unwrap_err().to_string().contains("after"));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for query in ["aftr=1", "after=1&after=2"] {
            assert!(read(query).unwrap_err().to_string().contains("aft"), "{query}");
        }
        for query in ["after=-1", "after=+1", "after=x", "after=9223372036854775808"] {
            let error = read(query).unwrap().number::<u64>("after").unwrap_err();
            assert!(error.to_string().contains("after"), "{query}");
        }
        assert!(read("limit=0").unwrap().limit(50, 500).is_err());
    }
}
