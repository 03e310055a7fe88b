"Quiet loading for the tests of models."

import transformers

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
