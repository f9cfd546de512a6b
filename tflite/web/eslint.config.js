import js from '@eslint/js';
import globals from 'globals';

export default [
  js.configs.recommended,
  {
    languageOptions: { ecmaVersion: 2024, globals: globals.browser },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      eqeqeq: 'error',
      'no-eval': 'error',
      'no-implicit-globals': 'error',
      'no-var': 'error',
      'prefer-const': 'error',
      'max-lines': ['error', 370],
      'max-lines-per-function': ['error', 45],
    },
  },
  { files: ['page/worker.js'], languageOptions: { sourceType: 'script', globals: globals.worker }, rules: { 'no-implicit-globals': 'off' } },
  { files: ['page/offline.js'], languageOptions: { globals: globals.serviceworker } },
  { files: ['test/**', '*.js'], languageOptions: { globals: globals.node } },
];
