// The list of sessions: brought up to date whenever a session writes something.

import "./forms.js";
import { mergeQuestions, one, part, swap, throttled } from "./common.js";
import { Live } from "./live.js";

const REFRESH_PERIOD = 800;

const refresh = throttled(async () => {
    const next = await part("/parts");
    document.title = next.dataset.title;
    mergeQuestions(one("#questions"), one("#questions", next));
    for (const id of ["#live", "#ended"]) swap(one(id), one(id, next));
}, REFRESH_PERIOD);

const live = new Live({
    address: () => "/events",
    kinds: one("[data-kinds]").dataset.kinds.split(" "),
    onRecord: refresh,
    onHello: refresh,
});

document.addEventListener("acted", refresh);

let hiding = null;
document.addEventListener("visibilitychange", () => {
    // A browser lends a site few connections: a page that nobody sees gives its own back.
    if (document.hidden) hiding = setTimeout(() => live.stop("asleep"), 30_000);
    else {
        clearTimeout(hiding);
        live.start();
    }
});

const task = one("#start-task");
if (task) {
    task.value ||= sessionStorage.getItem("task") ?? "";
    task.addEventListener("input", () => sessionStorage.setItem("task", task.value));
}
live.start();
