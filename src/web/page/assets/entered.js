// Keeps the page's secret where only pages of this address can read it, and goes on. Cookies know no ports, storage does.

import { keepSecret } from "./secret.js";

keepSecret(document.querySelector('meta[name="page-secret"]').content);
location.replace(document.querySelector("main a").href);
