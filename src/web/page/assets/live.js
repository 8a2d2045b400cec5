// A stream of server-sent events that goes on by itself: the browser reconnects with Last-Event-ID, and where it gives
// up, a new stream begins behind the last record that is known.

import { connection, isSignedOut } from "./common.js";

const DELAY_MIN = 500;
const DELAY_MAX = 5_000;

// How often it is tried whether somebody has signed this browser in again.
const SIGNED_OUT_DELAY = 15_000;

export class Live {
    /**
     * `address` answers where to begin now; `kinds` are those of records; the rest is called with what comes:
     * `onRecord(kind, event)`, `onDelta(delta)`, `onHello(hello, isOther)`, `onLost()`.
     */
    constructor({ address, kinds, onRecord, onDelta, onHello, onLost }) {
        Object.assign(this, { address, kinds, onRecord, onDelta, onHello, onLost });
        this.source = null;
        this.timer = null;
        this.isLost = false;
        this.delay = DELAY_MIN;
    }

    get isOpen() {
        return this.source !== null || this.timer !== null;
    }

    start() {
        if (this.isOpen) return;
        connection(this.isLost ? "lost" : "connecting");
        this.listen(new EventSource(this.address()));
    }

    /** Ends the stream; `state` says why. */
    stop(state) {
        this.source?.close();
        clearTimeout(this.timer);
        this.source = this.timer = null;
        this.isLost = false;
        connection(state);
    }

    listen(source) {
        this.source = source;
        const own = (handle) => (event) => {
            if (this.source === source) handle(event);
        };
        source.addEventListener("hello", own((event) => this.greet(JSON.parse(event.data))));
        for (const kind of this.kinds) {
            source.addEventListener(kind, own((event) => this.onRecord(kind, event)));
        }
        if (this.onDelta) source.addEventListener("delta", own((event) => this.onDelta(JSON.parse(event.data))));
        source.addEventListener("error", own(() => this.lose()));
    }

    greet(hello) {
        this.delay = DELAY_MIN;
        this.isLost = false;
        connection("live");
        const isOther = this.epoch !== undefined && this.epoch !== hello.epoch;
        this.epoch = hello.epoch;
        this.onHello(hello, isOther || hello.resume === "gap");
    }

    /** The browser tries again by itself after a broken connection, but not after an answer that is no stream. */
    lose() {
        this.isLost = true;
        connection("lost");
        this.onLost();
        if (this.source.readyState !== EventSource.CLOSED) return;
        this.source = null;
        this.timer = setTimeout(() => {
            this.timer = null;
            this.start();
        }, isSignedOut() ? SIGNED_OUT_DELAY : this.delay);
        this.delay = Math.min(this.delay * 2, DELAY_MAX);
    }
}
