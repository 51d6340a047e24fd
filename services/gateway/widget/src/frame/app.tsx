import type { VNode } from "preact";
import { useEffect } from "preact/hooks";

import { Composer } from "./composer";
import { Provider } from "./context";
import { Earlier } from "./earlier";
import { Header } from "./header";
import { applyLook } from "./look";
import { Messages } from "./messages";
import { Notice } from "./notice";
import type { State } from "./state";
import type { Store } from "./store";
import { localized, textsOf } from "./texts";

export function App({ store, state }: { store: Store; state: State }): VNode | null {
  const { config, locale } = state;
  useEffect(() => {
    if (config) applyLook(config, locale);
  }, [config, locale]);
  useEffect(() => {
    const close = (event: KeyboardEvent): void => {
      if (event.key === "Escape" && !event.defaultPrevented) store.close();
    };
    document.addEventListener("keydown", close);
    return () => document.removeEventListener("keydown", close);
  }, []);
  if (!config) return null;
  const texts = textsOf(locale);
  const consent = localized(config.widget.consent, locale, config.widget.defaultLocale);
  if (state.earlier) {
    return (
      <Provider value={{ store, state, texts }}>
        <Header />
        <Earlier />
      </Provider>
    );
  }
  return (
    <Provider value={{ store, state, texts }}>
      <Header />
      <Messages />
      <Notice />
      {consent && !state.consented ? (
        <section class="consent" aria-label={texts.agree}>
          <p>{consent}</p>
          <button type="button" class="primary" onClick={() => store.consent()}>
            {texts.agree}
          </button>
        </section>
      ) : (
        <Composer />
      )}
    </Provider>
  );
}
