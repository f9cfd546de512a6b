"""What each command does once its words are understood; TensorFlow loads only after everything cheap was checked."""
