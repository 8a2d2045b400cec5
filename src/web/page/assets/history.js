// The past needs no more than times in the reader's zone, and a way out.

import "./common.js";
import "./forms.js";
