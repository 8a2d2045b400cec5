//! Calls that change a session which runs: it is cancelled, or one of its questions is answered.

use std::sync::Arc;

use super::{Handle, trust};
use crate::runtime::messages::Wanted;
use crate::runtime::refusal::CallError;
use crate::runtime::supervisor::reply_channel;
use crate::session::decide::{GivenAnswer, Wish};
use crate::session::id::{QuestionId, SessionId};
use crate::session::question::Answer;
use crate::session::summary::Summary;

impl Handle {
    /// Cancels a session; answered when that is on disk. A repeated cancel is accepted quietly. The agent of session
    /// `asker`, where one cancels, cancels those that it has asked for.
    pub async fn cancel(&self, asker: Option<SessionId>, id: SessionId, by: String) -> Result<Arc<Summary>, CallError> {
        if let Some(asker) = asker {
            self.check_kin(asker, id).await?;
        }
        self.want(id, Wish::Cancel { by }).await
    }

    /// Answers a question; answered when that is on disk. The first answer wins. The agent of session `asker`, where one
    /// answers, answers those that it has asked for, and gives no more than its own session has.
    pub async fn answer(
        &self,
        asker: Option<SessionId>,
        id: SessionId,
        question: QuestionId,
        answer: Answer,
        by: String,
    ) -> Result<Arc<Summary>, CallError> {
        let asked = self.get(id).await?;
        // An agent decides for a session that it has asked for, and not for those that come.
        let decided = trust::decided(&asked, question, &answer).filter(|_| asker.is_none());
        let rights = match asker {
            Some(asker) => {
                self.check_kin(asker, id).await?;
                Some(Box::new(self.rights_of(asker).await?))
            }
            None => None,
        };
        let given = GivenAnswer {
            question_id: question,
            answer,
            by: by.clone(),
            rights,
        };
        let summary = self.want(id, Wish::Answer(given)).await?;
        self.remember(decided, by).await?;
        Ok(summary)
    }

    /// Has the supervisor decide about a wish; answered when what follows is on disk.
    pub(super) async fn want(&self, session: SessionId, wish: Wish) -> Result<Arc<Summary>, CallError> {
        let (reply, answer) = reply_channel();
        self.supervisor.do_send(Wanted { session, wish, reply });
        self.written(session, answer).await
    }
}
