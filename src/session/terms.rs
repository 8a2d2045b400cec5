//! The terms of a session that are not those of its request.

use std::borrow::Cow;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::request::{PermissionMode, Request};

/// What holds in a session instead of, or besides, what its request says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Terms {
    /// The permission mode, where it is not the one asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permission_mode: Option<PermissionMode>,
    /// Tools that need no permission since it was granted, in the CLI's rule syntax; those of the request hold as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_tools: Vec<String>,
    /// Directories that were granted; those of the request hold as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub add_dirs: Vec<PathBuf>,
    /// The model, where it was switched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

impl Terms {
    /// Returns true if nothing differs from what was asked for.
    pub fn is_as_asked(&self) -> bool {
        *self == Self::default()
    }

    /// The request as an attempt runs it under these terms.
    pub fn applied_to<'a>(&self, request: Cow<'a, Request>) -> Cow<'a, Request> {
        if self.is_as_asked() {
            return request;
        }
        let mut request = request.into_owned();
        request.permission_mode = self.permission_mode.or(request.permission_mode);
        request.model = self.model.clone().or(request.model);
        add(&mut request.allowed_tools, &self.allowed_tools);
        add(&mut request.add_dirs, &self.add_dirs);
        Cow::Owned(request)
    }

    /// These terms, as far as they held at an earlier point of the session too. The model is no right and stays.
    pub fn narrowed_to(&self, earlier: &Self, asked: PermissionMode) -> Self {
        let mode = |terms: &Self| terms.permission_mode.unwrap_or(asked);
        let narrower = mode(self).narrower(mode(earlier));
        Self {
            permission_mode: Some(narrower).filter(|narrower| *narrower != asked),
            allowed_tools: both(&self.allowed_tools, &earlier.allowed_tools),
            add_dirs: both(&self.add_dirs, &earlier.add_dirs),
            model: self.model.clone(),
        }
    }
}

/// Adds what is not there yet.
pub(super) fn add<T: Clone + PartialEq>(list: &mut Vec<T>, more: &[T]) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

fn both<T: Clone + PartialEq>(one: &[T], other: &[T]) -> Vec<T> {
    one.iter().filter(|item| other.contains(item)).cloned().collect()
}
