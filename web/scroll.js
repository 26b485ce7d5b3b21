// Keeps the end of a growing text in sight, as long as the reader is there.
export class Follower {
  #following = true;
  #top = 0;

  // `jump` is a button that leads to the end; it shows while the reader is elsewhere.
  constructor(scroller, jump) {
    this.scroller = scroller;
    this.jump = jump;
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    jump.addEventListener("click", () => this.toEnd());
    new ResizeObserver(() => this.keep()).observe(scroller);
  }

  #atEnd() {
    return this.scroller.scrollHeight - this.scroller.scrollTop - this.scroller.clientHeight < 40;
  }

  #scrolled() {
    // The text may have grown since, so only a way up is the reader's own.
    if (this.#atEnd()) this.#following = true;
    else if (this.scroller.scrollTop < this.#top - 1) this.#following = false;
    this.#top = this.scroller.scrollTop;
    this.jump.hidden = this.#atEnd();
  }

  toEnd() {
    this.#following = true;
    this.keep();
  }

  // To be called when the text has grown.
  keep() {
    if (this.#following) this.scroller.scrollTop = this.scroller.scrollHeight;
    this.#top = this.scroller.scrollTop;
    this.jump.hidden = this.#atEnd();
  }
}
