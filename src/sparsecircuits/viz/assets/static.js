// The page as a file: the document lies beside the script.

start(JSON.parse(byId("document").textContent));
