"use strict";
// The renderer asks nobody but this origin: no fonts, no telemetry, no assistant, no proxy.
Scalar.createApiReference("#reference", {
  url: "/api/v1/openapi.json",
  withDefaultFonts: false,
  telemetry: false,
  agent: { disabled: true },
  mcp: { disabled: true },
  hideClientButton: true,
  hideTestRequestButton: true,
  hideDarkModeToggle: true,
  showDeveloperTools: "never",
  persistAuth: false,
  forceDarkModeState: document.documentElement.dataset.mode,
  customCss: `
    .light-mode { --scalar-color-accent: #0a5a9c; --scalar-color-2: #4a4a4a; --scalar-color-3: #595959; --scalar-color-green: #0b6b3a;
      --scalar-color-red: #b3140f; --scalar-color-blue: #0a5a9c; --scalar-color-orange: #8f4a00;
      --scalar-color-yellow: #7a5200; --scalar-color-purple: #5b3fa0; }
    .dark-mode { --scalar-color-2: #c9c9c9; --scalar-color-3: #b0b0b0; --scalar-color-accent: #6cb8ff;
      --scalar-color-red: #ff8078; }
  `,
});
