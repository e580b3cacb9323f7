// The key of this origin: other servers on 127.0.0.1 get the cookie too, but not this.
localStorage.setItem("key", document.querySelector("meta[name=cortex-key]").content);
location.replace("/");
