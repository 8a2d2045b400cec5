// One session, live: records as they are written, the text before it is a record, questions as they come up.

import "./forms.js";
import { announce, mergeQuestions, one, part, swap, throttled } from "./common.js";
import { Drafts } from "./drafts.js";
import { Live } from "./live.js";
import { Timeline } from "./timeline.js";
import { Transcript } from "./transcript.js";

const PARTS_PERIOD = 800;

// How often an ended session is looked at, in case somebody resumes it, and a hidden page for its title.
const LOOK_PERIOD = 15_000;

// How long a page is hidden before it gives its connection back: a browser lends a site only a few.
const HIDDEN_PATIENCE = 30_000;

const section = one("#transcript");
const { session, kinds } = section.dataset;
const transcript = new Transcript(section);
const drafts = new Drafts(one("#drafts"));

// Records that end text that is being written, until they are shown.
const ENDS_DRAFTS = new Set(["agent.message", "draft.dropped", "attempt.ended", "session.ended"]);
const endings = [];

const refreshParts = throttled(async () => {
    const next = await part(`/execution/${session}/parts`);
    document.title = next.dataset.title;
    const before = one("#head").dataset.state;
    const head = swap(one("#head"), one("#head", next));
    if (head.dataset.state !== before) announce(one(".state", head).textContent);
    swap(one("#side"), one("#side", next));
    mergeQuestions(one("#questions"), one("#questions", next));
    const composer = one("#composer", next);
    if (one("#composer").dataset.mode !== composer.dataset.mode) one("#composer").replaceWith(composer);
    stand();
    transcript.follow();
}, PARTS_PERIOD);

const timeline = new Timeline(one("#timeline"), session);

const live = new Live({
    address: () => `/execution/${session}/stream?after=${transcript.head}`,
    kinds: kinds.split(" "),
    onRecord: take,
    onDelta: (delta) => drafts.take(delta),
    onHello: greet,
    onLost: refreshParts,
});

function take(kind, event) {
    const { seq, data } = JSON.parse(event.data);
    if (ENDS_DRAFTS.has(kind)) endings.push({ seq, kind, data });
    transcript.note(seq);
    refreshParts();
    timeline.refresh();
    // The daemon ends the stream behind it. Where the session was resumed since, the stream goes on from here.
    if (kind === "session.ended") live.stop("ended");
}

/** Records that are shown take the place of what was shown before they were there. */
transcript.onShown = () => {
    const through = transcript.isTail ? transcript.last : Infinity;
    while (endings.length > 0 && endings[0].seq <= through) closeDrafts(endings.shift());
};

function closeDrafts({ kind, data }) {
    if (kind === "agent.message" && data.message.message_id !== undefined) {
        drafts.close(data.message.message_id, data.message.block ?? 0);
    }
    if (kind === "draft.dropped") drafts.drop(data.message_id, data.from_block);
    if (kind === "attempt.ended" || kind === "session.ended") drafts.clear();
}

function greet(hello, isOther) {
    refreshParts();
    timeline.refresh();
    if (isOther) {
        drafts.clear();
        endings.length = 0;
        transcript.head = hello.head;
        transcript.showLast();
        return;
    }
    transcript.note(hello.head);
}

/** What the page does follows from how the session stands. */
function stand() {
    const { live: isLive, resumable, head } = one("#head").dataset;
    document.body.dataset.resumable = resumable;
    if (Number(head) > transcript.head) transcript.note(Number(head));
    if (isLive === "true" && !document.hidden) live.start();
    if (isLive === "false" && transcript.head >= Number(head)) live.stop("ended");
}

let hiding = null;
document.addEventListener("visibilitychange", () => {
    clearTimeout(hiding);
    if (document.hidden) hiding = setTimeout(() => live.stop("asleep"), HIDDEN_PATIENCE);
    else refreshParts();
});
setInterval(() => {
    if (!live.isOpen) refreshParts();
}, LOOK_PERIOD);

document.addEventListener("acted", () => {
    refreshParts();
    timeline.refresh();
});

document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="?seq="]');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    history.replaceState(null, "", link.getAttribute("href"));
    transcript.show(Number(new URLSearchParams(location.search).get("seq")));
});

function begin() {
    const warnings = sessionStorage.getItem(`warnings ${session}`);
    if (warnings) {
        sessionStorage.removeItem(`warnings ${session}`);
        const note = document.createElement("p");
        note.className = "warning";
        note.setAttribute("role", "status");
        note.textContent = warnings;
        one("#head").after(note);
    }
    const seq = Number(new URLSearchParams(location.search).get("seq"));
    if (seq) {
        transcript.isTail = transcript.last >= Number(one("#head").dataset.head);
        transcript.reveal(seq);
    } else transcript.follow();
    transcript.head = Math.max(transcript.head, Number(one("#head").dataset.head));
    if (transcript.isTail) transcript.note(transcript.head);
    transcript.settle();
    stand();
    timeline.refresh();
}

begin();
