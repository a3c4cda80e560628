-- result_collection=last_statement_first_row
copy (select unnest(['WM_STREAM: one', 'WM_STREAM: \n', 'WM_STREAM: two', 'between', 'WM_STREAM: three']))
    to '/dev/stdout' (format csv, header false)
