// Browsers start no workers for pages opened from the disk, and the search is one: there it runs in a hidden frame.
if (location.protocol === "file:") {
  // As between threads: a copy, and not before the sender has finished.
  const deliver = (receiver, data) => {
    const message = { data: structuredClone(data) };
    setTimeout(() => receiver?.onmessage?.(message));
  };

  window.Worker = class {
    #frame = document.createElement("iframe");

    constructor(url) {
      this.#frame.hidden = true;
      this.#frame.srcdoc = `<script src="${new URL(url, location)}"></script>`;
      this.started = new Promise((resolve) => this.#frame.addEventListener("load", resolve)).then(() => {
        this.#frame.contentWindow.postMessage = (data) => deliver(this, data);
      });
      document.body.append(this.#frame);
    }

    postMessage(data) {
      this.started.then(() => deliver(this.#frame.contentWindow, data));
    }

    terminate() {
      this.#frame.remove();
    }
  };
}
