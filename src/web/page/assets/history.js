// The past needs no more than times in the reader's zone.

import "./common.js";
