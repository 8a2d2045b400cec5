// Text that is being written right now. A record of the same message and block takes its place.

const NAMES = { text: "Writing", thinking: "Thinking", tool_input: "Preparing a tool call" };

// No more of a draft is shown than the last characters: it is read while it grows.
const SHOWN_CHARS_MAX = 20_000;

// Blocks that are done are remembered for so long, so that a late delta does not bring one back.
const DONE_MAX = 200;

export class Drafts {
    constructor(place) {
        this.place = place;
        this.open = new Map();
        this.done = new Set();
        this.isDrawing = false;
    }

    take({ message_id, block, part, offset, text }) {
        const key = `${message_id} ${block}`;
        if (this.done.has(key)) return;
        const draft = this.open.get(key) ?? this.begin(key, message_id, block, part);
        // What comes again after a reconnection replaces what was there; offsets count characters, not UTF-16 units.
        const kept = offset < draft.chars ? [...draft.text].slice(0, offset).join("") : draft.text;
        draft.text = kept + text;
        draft.chars = offset + [...text].length;
        draft.isNew = true;
        this.draw();
    }

    /** A record of this message and block is shown. */
    close(message_id, block) {
        this.end(`${message_id} ${block}`);
    }

    /** The blocks of this message from `from` on will never be completed. */
    drop(message_id, from) {
        for (const draft of [...this.open.values()]) {
            if (draft.message_id === message_id && draft.block >= from) this.end(draft.key);
        }
    }

    clear() {
        for (const key of [...this.open.keys()]) this.end(key);
    }

    begin(key, message_id, block, part) {
        const element = document.createElement("div");
        element.className = "draft";
        element.dataset.part = part;
        element.dataset.message = message_id;
        element.dataset.block = block;
        const label = document.createElement("p");
        label.className = "who";
        label.textContent = NAMES[part] ?? part;
        const body = document.createElement("pre");
        body.className = "text";
        element.append(label, body);
        this.place.append(element);
        const draft = { key, message_id, block, element, body, text: "", chars: 0, isNew: true };
        this.open.set(key, draft);
        return draft;
    }

    end(key) {
        this.done.add(key);
        if (this.done.size > DONE_MAX) this.done.delete(this.done.values().next().value);
        this.open.get(key)?.element.remove();
        this.open.delete(key);
    }

    /** Many deltas come between two frames; the page changes once. */
    draw() {
        if (this.isDrawing) return;
        this.isDrawing = true;
        requestAnimationFrame(() => {
            this.isDrawing = false;
            for (const draft of this.open.values()) {
                if (!draft.isNew) continue;
                draft.isNew = false;
                const { text } = draft;
                draft.body.textContent = text.length > SHOWN_CHARS_MAX ? `…${text.slice(-SHOWN_CHARS_MAX)}` : text;
            }
        });
    }
}
