// The transcript as a window: chunks of records that follow each other without gaps. Older ones are fetched when the
// reader scrolls up (on a narrow page: when he asks for them), later ones when he scrolls down or when they are written; far ones are dropped, so the page stays
// small however long the session is.

import { all, one, part } from "./common.js";

const CHUNK_RECORDS = 100;
const CHUNK_RECORDS_MAX = 150;
const CHUNKS_MAX = 6;

// How far from the edge, in pixels, the next chunk is fetched.
const AHEAD = 1_200;

// How near to the end the reader counts as following.
const FOLLOWING = 60;

// How much stays free above a question, in pixels.
const MARGIN = 12;

// Further behind than this, the page jumps to the end instead of fetching all that lies between.
const BEHIND_MAX = 400;

export class Transcript {
    constructor(section) {
        this.section = section;
        this.session = section.dataset.session;
        this.records = one("#records", section);
        this.end = one("#end", section);
        this.toLatest = one("#to-latest");
        this.head = this.last;
        this.isTail = true;
        this.isFollowing = true;
        this.work = Promise.resolve();
        this.onShown = () => {};
        this.fit();
        for (const target of [section, window]) {
            target.addEventListener("scroll", () => this.scrolled(), { passive: true });
        }
        window.addEventListener("resize", () => this.fit());
        // What is written makes the one longer, and what stands above it the other shorter.
        const resized = new ResizeObserver(() => this.follow());
        for (const target of [one("#flow", section), section]) resized.observe(target);
        section.addEventListener("click", (event) => this.clicked(event));
        this.toLatest.addEventListener("click", () => this.showLast());
        one("#older", section).addEventListener("click", () => this.soon(() => this.loadOlder()));
    }

    get chunks() {
        return all(".chunk", this.records);
    }

    /** The number before the first record that is shown. */
    get after() {
        return Number(this.records.firstElementChild?.dataset.after ?? 0);
    }

    /** The number of the last record that is shown. */
    get last() {
        return Number(this.records.lastElementChild?.dataset.last ?? 0);
    }

    /** On a wide page the transcript scrolls by itself, on a narrow one with the whole page. */
    fit() {
        const scrolls = getComputedStyle(this.section).overflowY === "auto";
        this.scroller = scrolls ? this.section : document.scrollingElement;
        this.follow();
    }

    /** A record with this number exists; resolves when it is shown, or when it is known that it will not be. */
    async note(seq) {
        this.head = Math.max(this.head, seq);
        // One that comes while the last look ends is found by the next.
        for (let look = 0; look < 2 && this.isTail && this.last < seq; look++) {
            this.catching ??= this.soon(() => this.catchUp()).finally(() => (this.catching = null));
            await this.catching;
        }
        if (!this.isTail) this.markSoon();
    }

    showLast() {
        return this.soon(async () => {
            await this.jump();
        });
    }

    /** Shows the record with this number, wherever it is. */
    show(seq) {
        return this.soon(async () => {
            if (!this.find(seq)) {
                this.isFollowing = false;
                this.replace(await this.fetch(`around=${seq}`));
                this.isTail = this.last >= this.head;
            }
            this.reveal(seq);
        });
    }

    reveal(seq) {
        const record = this.find(seq);
        if (!record) return;
        this.isFollowing = false;
        for (let outer = record.parentElement; outer; outer = outer.parentElement) {
            if (outer.tagName === "DETAILS") outer.open = true;
        }
        record.scrollIntoView({ block: "center" });
        for (const before of all(".is-meant", this.records)) before.classList.remove("is-meant");
        record.classList.add("is-meant");
    }

    /** One change at a time: each begins where the one before has left the page. */
    soon(change) {
        this.work = this.work.then(change).catch(() => {}).then(() => this.settle());
        return this.work;
    }

    async catchUp() {
        while (this.isTail && this.last < this.head) {
            if (this.head - this.last > BEHIND_MAX && this.isFollowing) {
                await this.jump();
                continue;
            }
            // What somebody reads is not dropped for what he does not follow.
            if (!this.isFollowing && this.chunks.length >= CHUNKS_MAX) {
                this.isTail = false;
                return;
            }
            const chunk = await this.fetch(`after=${this.last}`);
            if (Number(chunk.dataset.last) <= this.last) return;
            this.append(chunk);
            this.onShown();
        }
    }

    async loadOlder() {
        const chunk = await this.fetch(`before=${this.after + 1}`);
        if (Number(chunk.dataset.last) !== this.after) return;
        this.keepPlace(() => {
            this.records.prepend(chunk);
            while (this.chunks.length > CHUNKS_MAX) {
                this.records.lastElementChild.remove();
                this.isTail = false;
            }
        });
    }

    async loadNewer() {
        const chunk = await this.fetch(`after=${this.last}`);
        if (Number(chunk.dataset.last) <= this.last) {
            this.isTail = true;
            return;
        }
        this.append(chunk);
        this.isTail = this.last >= this.head;
    }

    fetch(range) {
        const query = [`limit=${CHUNK_RECORDS}`, range].filter(Boolean).join("&");
        return part(`/execution/${this.session}/transcript?${query}`);
    }

    /** To the last records; those written since then are caught up with. */
    async jump() {
        this.replace(await this.fetch(""));
        this.isTail = true;
        this.isFollowing = true;
        this.follow();
        this.onShown();
    }

    replace(chunk) {
        this.records.replaceChildren(chunk);
        this.head = Math.max(this.head, this.last);
    }

    append(chunk) {
        const tail = this.records.lastElementChild;
        this.keepPlace(() => {
            if (tail && tail.childElementCount + chunk.childElementCount <= CHUNK_RECORDS_MAX) {
                tail.append(...chunk.children);
                tail.dataset.last = chunk.dataset.last;
                pair(tail);
            } else {
                this.records.append(chunk);
            }
            while (this.chunks.length > CHUNKS_MAX) this.records.firstElementChild.remove();
        });
        this.head = Math.max(this.head, this.last);
    }

    /** Changes the page so that what is being read stays where it is. */
    keepPlace(change) {
        const top = this.viewTop;
        const anchor = all(".record", this.records).find((record) => record.getBoundingClientRect().bottom > top);
        const before = anchor?.getBoundingClientRect().top;
        this.scroller.classList.add("is-settling");
        change();
        if (anchor?.isConnected && !this.isFollowing) {
            this.scroller.scrollTop += anchor.getBoundingClientRect().top - before;
        }
        this.follow();
        requestAnimationFrame(() => requestAnimationFrame(() => this.scroller.classList.remove("is-settling")));
    }

    get viewTop() {
        return this.scroller === this.section ? this.section.getBoundingClientRect().top : 0;
    }

    get viewBottom() {
        return this.scroller === this.section ? this.section.getBoundingClientRect().bottom : window.innerHeight;
    }

    /** How far the end is below what is seen. */
    get gap() {
        return this.end.getBoundingClientRect().bottom - this.viewBottom;
    }

    /** Shows the end, or the beginning of a question that would not fit above it. */
    follow() {
        if (!this.isFollowing) return;
        const question = one('#question-list .question:not([data-status="answered"])', this.section);
        const room = question ? question.getBoundingClientRect().top - this.viewTop - MARGIN : Infinity;
        const distance = Math.min(this.gap, room);
        if (distance > 0) this.scroller.scrollTop += distance;
    }

    scrolled() {
        const top = this.scroller.scrollTop;
        // Only the reader scrolls up; what is written pushes the end down.
        if (this.isTail && this.gap < FOLLOWING) this.isFollowing = true;
        else if (top < this.lastTop) this.isFollowing = false;
        this.lastTop = top;
        this.settle();
    }

    /** Fetches what will be seen next. */
    settle() {
        this.onShown();
        this.mark();
        if (this.isFetching) return;
        const rect = this.records.getBoundingClientRect();
        // On a narrow page there is more above the transcript: whoever scrolls up may want to get there.
        const wantsOlder = this.after > 0 && this.scroller === this.section && rect.top > this.viewTop - AHEAD;
        const wantsNewer = !this.isTail && rect.bottom < this.viewBottom + AHEAD;
        if (!wantsOlder && !wantsNewer) return;
        this.isFetching = true;
        this.soon(async () => {
            try {
                await (wantsOlder ? this.loadOlder() : this.loadNewer());
            } finally {
                this.isFetching = false;
            }
        });
    }

    markSoon() {
        this.marking ??= requestAnimationFrame(() => {
            this.marking = null;
            this.mark();
        });
    }

    mark() {
        one("#older-note", this.section).hidden = this.after === 0;
        one("#newer-note", this.section).hidden = this.isTail;
        const isAway = !this.isTail || (!this.isFollowing && this.gap > AHEAD / 2);
        this.toLatest.hidden = !isAway;
        const missing = this.head - this.last;
        this.toLatest.textContent = missing > 0 ? `To the latest (${missing} more)` : "To the latest";
        this.section.dataset.tail = this.isTail;
    }

    find(seq) {
        return one(`#r${Number(seq)}`, this.records);
    }

    async clicked(event) {
        const link = event.target.closest?.("a[data-whole]");
        if (!link) return;
        event.preventDefault();
        const chunk = await part(link.getAttribute("href"));
        const record = link.closest(".record");
        const whole = one(".record", chunk);
        one(".results", whole)?.append(...(one(".results", record)?.children ?? []));
        for (const details of all("details", whole)) details.open = true;
        record.replaceWith(whole);
    }
}

/** Moves results into the calls that they answer, as the server does within one chunk. */
function pair(chunk) {
    for (const result of all(":scope > [data-result-of]", chunk)) {
        const call = one(`:scope > [data-tool-use="${CSS.escape(result.dataset.resultOf)}"]`, chunk);
        if (!call) continue;
        one(".results", call).append(result);
        const failed = "error" in result.dataset;
        one("details", call).dataset.status = failed ? "failed" : "done";
        one(".outcome", call).textContent = failed ? "failed" : "";
        if (failed) call.dataset.error = "";
    }
}
