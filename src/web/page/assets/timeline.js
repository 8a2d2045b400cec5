// The timeline: drawn by the daemon, brought up to date while the session writes. Of a long session the reader goes back
// through the past a stretch at a time; the past does not change.

import { announce, one, part, Refused, throttled } from "./common.js";

const PERIOD = 4_000;

// Whether the reader wants to see it, on every session's page.
const OPEN = "timeline is open";

export class Timeline {
    constructor(details, session) {
        this.details = details;
        this.session = session;
        this.place = one("#timeline-picture", details);
        // The record behind each stretch that was gone back through, the one that is shown last; none for the whole.
        this.stretches = [];
        this.refresh = throttled(() => this.bringUpToDate(), PERIOD);
        const isNarrow = matchMedia("(max-width: 40rem)").matches;
        details.open = (localStorage.getItem(OPEN) ?? String(!isNarrow)) === "true";
        details.addEventListener("toggle", this.refresh);
        // It is not open yet, or still.
        one("summary", details).addEventListener("click", () => localStorage.setItem(OPEN, !details.open));
        this.place.addEventListener("click", (event) => this.clicked(event.target.closest("button")));
    }

    async bringUpToDate() {
        if (!this.details.open || document.hidden || this.stretches.length > 0) return;
        const next = await this.fetch();
        // Somebody reads it with the keyboard, or has gone back meanwhile.
        if (this.place.contains(document.activeElement) || this.stretches.length > 0) return;
        this.show(next);
    }

    async clicked(button) {
        const { stretch, before } = button?.dataset ?? {};
        if (!stretch) return;
        const now = this.stretches;
        const stretches = (this.stretches = this.way(stretch, before));
        try {
            const next = await this.fetch();
            if (this.stretches !== stretches) return;
            this.show(next);
        } catch (error) {
            if (!(error instanceof Refused)) throw error;
            this.stretches = now;
            announce(error.message);
            return;
        }
        const again = one(`[data-stretch="${stretch}"]`, this.place) ?? one("[data-stretch]", this.place);
        again?.focus({ preventScroll: true });
    }

    way(stretch, before) {
        if (stretch === "earlier") return [...this.stretches, before];
        return stretch === "later" ? this.stretches.slice(0, -1) : [];
    }

    fetch() {
        const before = this.stretches.at(-1);
        return part(`/execution/${this.session}/timeline${before ? `?before=${before}` : ""}`);
    }

    show(next) {
        if (one(".as-list", this.place)?.open) one(".as-list", next).open = true;
        this.place.replaceChildren(next);
    }
}
