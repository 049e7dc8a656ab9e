// Talking to the server: every question carries the session's token, every failure has a sentence.

const TOKEN = () => document.querySelector("meta[name=session]").content;

// GET without a body, POST with one. Gives {status, told}; a refusal is an Error with the server's reason, and
// with all that it told.
async function asked(path, body) {
  const headers = { "x-sparsecircuits-token": TOKEN() };
  if (body !== undefined) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method: body === undefined ? "GET" : "POST", headers, body: JSON.stringify(body) });
  } catch {
    throw new Error("The server does not answer; is it still running?");
  }
  const told = await response.json();
  if (!response.ok) throw Object.assign(new Error(told.error || `The server answered ${response.status}.`), { told });
  return { status: response.status, told };
}

const later = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

function notify(text) {
  byId("notice").textContent = text;
  byId("notice").hidden = !text;
}

// One question at a time, and then the latest of those that came meanwhile: answers never overtake each other.
function onlyLatest(work) {
  let busy = false, again = false;
  return async () => {
    if (busy) { again = true; return; }
    busy = true;
    do { again = false; await work(); } while (again);
    busy = false;
  };
}

const circuitHref = (run, circuit) => `/c/${run}/${circuit}`;
