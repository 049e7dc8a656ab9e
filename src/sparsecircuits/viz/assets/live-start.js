// The start of a page that the server brings: which one it is, the body says.

const MILLISECONDS_BETWEEN_LOOKS = 250;

async function startCircuit(run, circuit) {
  byId("title").textContent = "";
  setUpLive(run, circuit);
  for (;;) {
    let answer;
    try {
      answer = await asked("/api/document", { run, circuit });
    } catch (error) {
      byId("title").textContent = "This circuit cannot be shown";
      notify(error.message);
      return;
    }
    if (answer.status === 200) {
      notify("");
      beginAt(answer.told);
      return;
    }
    renderMaking(answer.told);
    await later(MILLISECONDS_BETWEEN_LOOKS);
  }
}

function renderMaking({ done, of, what }) {
  show("notice", `Making this page: ${what} `, el("progress", { max: of || null, value: of ? done : null, "aria-label": "Making this page" }));
  byId("notice").hidden = false;
}

// #node=NAME, as other pages of the server say it, becomes the address that the circuit's page understands.
function beginAt(told) {
  const name = /^#node=(.+)$/.exec(location.hash)?.[1];
  if (name) history.replaceState(null, "", address(told.circuits[0].id, decoded(name)));
  start(told);
  byId("foot").textContent = `sparsecircuits · live · page format ${told.version}`;
}

// As it stands where it is no escaped text.
function decoded(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

function startLive() {
  const { view, run, circuit } = document.body.dataset;
  document.querySelector(".top").before(el("nav", { class: "live-nav", "aria-label": "Viewer" },
    el("a", { href: "/", "aria-current": view === "home" ? "page" : null }, "Runs and circuits"),
    el("a", { href: "/compare", "aria-current": view === "compare" ? "page" : null }, "Side by side")));
  if (view === "circuit") { startCircuit(run, circuit); return; }
  setUpTheme();
  if (view === "home") startHome();
  else startCompare();
}

startLive();
