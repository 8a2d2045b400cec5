// Forms are sent as JSON. A refusal is shown in the form; what was typed stays.

import { announce, call, one, all, Refused } from "./common.js";

/** Something that cannot be sent as it is. */
class Unfit extends Error {}

document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.dataset.action) return;
    event.preventDefault();
    send(form, event.submitter);
});

/** What was asked, as it came, is put there when somebody wants to see it. */
document.addEventListener(
    "toggle",
    ({ target }) => {
        if (target.open && "raw" in target.dataset) one("pre", target).textContent = target.dataset.raw;
    },
    true,
);

document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button");
    if (!button) return;
    const { opens, resumeFrom, forkFrom } = button.dataset;
    if (opens) open(opens, "");
    if (resumeFrom) open("resume-dialog", resumeFrom);
    if (forkFrom) open("fork-dialog", forkFrom);
    if ("close" in button.dataset) button.closest("dialog").close();
});

/** Enter in the words of a refusal must not press the first button, which allows. */
document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.target.name !== "reason" || event.isComposing) return;
    event.preventDefault();
    const { form } = event.target;
    form.requestSubmit(one('button[value="deny"]', form));
});

/** What each kind of form sends. */
const BODIES = {
    start: startBody,
    cancel: () => undefined,
    resume: (form) => filled({ instruction: text(form, "instruction"), ...limits(form) }),
    branch: branchBody,
    answer: answerBody,
    leave: () => undefined,
};

async function send(form, submitter) {
    const kind = Object.keys(BODIES).find((name) => name in form.dataset);
    const problem = one(".problem", form);
    problem.hidden = true;
    problem.textContent = "";
    if (form.getAttribute("aria-busy") === "true") return;
    try {
        const body = BODIES[kind](form, submitter);
        busy(form, true);
        done(kind, form, await call("POST", form.dataset.action, body, headers(kind, form, body)));
    } catch (error) {
        if (!(error instanceof Refused || error instanceof Unfit)) throw error;
        problem.textContent = words(error, form);
        problem.hidden = false;
    } finally {
        busy(form, false);
    }
}

/** A refusal in the words of the form: the name of a field becomes its label. */
function words(error, form) {
    const name = error.code === "budget_spent" && "max_budget_usd";
    const field = name && form.elements[name];
    if (!field) return error.message;
    const details = field.closest("details");
    if (details) details.open = true;
    return error.message.replace(name, `“${field.labels[0].textContent}”`);
}

/** The same thing sent twice makes one session: a key belongs to what is sent with it. */
function headers(kind, form, body) {
    if (kind !== "start" && form.dataset.branch !== "fork") return {};
    const text = JSON.stringify(body);
    if (form.dataset.sent !== text) {
        form.dataset.sent = text;
        form.dataset.key = crypto.randomUUID();
    }
    return { "Idempotency-Key": form.dataset.key };
}

function busy(form, isBusy) {
    form.setAttribute("aria-busy", isBusy);
    for (const button of all("button[type=submit]", form)) button.disabled = isBusy;
}

function done(kind, form, answer) {
    delete form.dataset.sent;
    if (kind === "start" || form.dataset.branch === "fork") {
        sessionStorage.removeItem("task");
        if (answer.warnings?.length) sessionStorage.setItem(`warnings ${answer.session_id}`, answer.warnings.join("\n"));
        location.assign(`/execution/${answer.session_id}`);
        return;
    }
    if (kind === "leave") {
        location.reload();
        return;
    }
    form.closest("dialog")?.close();
    if (kind === "answer") {
        form.replaceChildren();
        one("main").focus({ preventScroll: true });
        announce("Your answer is taken.");
    }
    document.dispatchEvent(new CustomEvent("acted", { detail: { kind, answer } }));
}

function open(id, at) {
    const dialog = document.getElementById(id);
    const from = one(".from", dialog);
    if (from) {
        one('[name="at"]', dialog).value = at;
        from.textContent = at ? `From the checkpoint at record ${at}.` : "From where it stands now.";
        from.hidden = false;
    }
    dialog.showModal();
}

function startBody(form) {
    const body = filled({
        task: text(form, "task"),
        cwd: text(form, "cwd").trim(),
        name: text(form, "name").trim(),
        model: text(form, "model").trim(),
        permission_mode: text(form, "permission_mode"),
        ...limits(form),
        background_shells: text(form, "background_shells"),
        clarify: form.elements.clarify.checked || "",
        executor_tools: form.elements.executor_tools.checked || "",
    });
    if (!body.task) throw new Unfit("Say what is to be done.");
    if (!body.cwd) throw new Unfit("Say in which directory.");
    return body;
}

function branchBody(form) {
    const at = text(form, "at");
    return filled({
        instruction: text(form, "instruction"),
        name: form.elements.name ? text(form, "name").trim() : "",
        at: at ? Number(at) : "",
        ...(form.elements.max_turns ? limits(form) : {}),
    });
}

/** The limits that a form gives. */
function limits(form) {
    return {
        max_turns: number(form, "max_turns"),
        max_budget_usd: number(form, "max_budget_usd"),
        timeout_seconds: number(form, "timeout_minutes") * 60 || "",
    };
}

function answerBody(form, submitter) {
    const action = submitter?.value ?? "allow";
    if (action === "deny") {
        return filled({
            action,
            reason: own(form, "reason")?.value ?? "",
            interrupt: own(form, "interrupt")?.checked || "",
        });
    }
    if (action === "choose") return { action, answers: Object.fromEntries(all("fieldset", form).map(chosen)) };
    if (action === "submit") return { action, content: content(form) };
    const grant = all("input[name=grant]:checked", form).map((input) => input.value);
    return filled({ action, grant: grant.length > 0 ? grant : "", updated_input: changed(form) });
}

function chosen(fieldset) {
    const labels = all("input:checked", fieldset).map((input) => input.value);
    const own = one("[data-own]", fieldset).value.trim();
    const isSingle = one("input[type=radio]", fieldset) !== null;
    // Words of one's own go before a choice of one, and beside a choice of several.
    const said = own && isSingle ? [own] : own ? [...labels, own] : labels;
    if (said.length === 0) throw new Unfit(`Not answered yet: ${fieldset.dataset.choice}`);
    return [fieldset.dataset.choice, said.join(", ")];
}

function changed(form) {
    const input = form.elements.updated_input;
    if (!input || input.value === input.defaultValue) return "";
    return json(input.value);
}

function content(form) {
    const whole = own(form, "content");
    if (whole) return json(whole.value);
    const fields = {};
    for (const field of all("[data-type]", form)) {
        if (field.required && !field.value.trim()) throw new Unfit(`Needed: ${field.labels[0].textContent.trim()}`);
        if (field.dataset.type === "boolean") fields[field.name] = field.checked;
        else if (field.value === "" && !field.required) continue;
        else if (field.multiple) fields[field.name] = Array.from(field.selectedOptions, ({ value }) => value);
        else fields[field.name] = field.dataset.type === "number" ? Number(field.value) : field.value;
    }
    return fields;
}

function json(value) {
    try {
        return JSON.parse(value);
    } catch (error) {
        throw new Unfit(`This is no JSON: ${error.message}`);
    }
}

/** A field of ours, not one of the same name that a schema asks for. */
function own(form, name) {
    return one(`[name="${name}"]:not([data-type])`, form);
}

function text(form, name) {
    return form.elements[name].value;
}

function number(form, name) {
    const { value, validity } = form.elements[name];
    if (validity.badInput) throw new Unfit("A limit is not a number.");
    return value === "" ? "" : Number(value);
}

/** Without what was left empty. */
function filled(fields) {
    return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== ""));
}
